"""The networks of the PyTorch systems. All of them give logits: whoever reads them applies the activation."""
