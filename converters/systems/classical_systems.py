"""Systems without a deep network: random forest and hidden Markov models of document 002, and the perceptron on principal components of document 004.

All three are trained on FER2013, whose pictures are not the documents' own: their figures stand beside the documents' and do not repeat them.
"""

from __future__ import annotations

from pathlib import Path

from converters.from_sklearn.features import LbpHistograms
from converters.original import Original
from converters.systems.system import System, from_trained
from edge.stage import CropInput, Emotions, EyesRegion, Stage

WEIGHTS = {"random-forest-5": "forest.skops", "hmm-5": "hmm.safetensors", "pca-mlp": "pipeline.skops"}

# From above the brows to below the chin. Source: better on FER2013's PublicTest than the detector's box, whole or 0.85 of it, for forest and Markov models.
_FACE = EyesRegion(eye_distance=0.42, eye_line=0.38)
_FIVE = ("angry", "disgusted", "afraid", "happy", "neutral")


def _stage(side_px: int, labels: tuple[str, ...], *, scale: float, equalize: bool) -> Stage:
    spec = CropInput(tensor="crop", color="gray", size_wh_px=(side_px, side_px), region=_FACE, scale=scale, equalize=equalize)
    return Stage(name="emotion", model="emotion.onnx", input=spec, outputs=(Emotions(tensor="probabilities", activation="none", labels=labels),))


FOREST_STAGE = _stage(66, _FIVE, scale=1.0, equalize=False)
FOREST_FEATURES = LbpHistograms(grid_wh=(8, 8))
HMM_STAGE = _stage(32, _FIVE, scale=1 / 255, equalize=True)
PCA_MLP_STAGE = _stage(32, ("happy", "sad", "afraid", "angry", "surprised", "disgusted"), scale=1 / 255, equalize=True)


def _random_forest(folder: Path) -> dict[str, Original]:
    from converters.from_sklearn.sklearn_original import SklearnOriginal

    return {FOREST_STAGE.name: SklearnOriginal.from_file(folder / WEIGHTS["random-forest-5"], FOREST_STAGE, features=FOREST_FEATURES)}


def _hmm(folder: Path) -> dict[str, Original]:
    from converters.from_sklearn.hmm_original import HmmOriginal

    return {HMM_STAGE.name: HmmOriginal.from_file(folder / WEIGHTS["hmm-5"], HMM_STAGE)}


def _pca_mlp(folder: Path) -> dict[str, Original]:
    from converters.from_sklearn.sklearn_original import SklearnOriginal

    return {PCA_MLP_STAGE.name: SklearnOriginal.from_file(folder / WEIGHTS["pca-mlp"], PCA_MLP_STAGE)}


SYSTEMS = (
    System(
        id="random-forest-5",
        document="document 002",
        framework="scikit-learn",
        description="gray crop -> histograms of local binary patterns -> random forest -> 5 emotions, in one network; trained on FER2013",
        reported="accuracy 0.513, macro F1 0.438, on a part of its own 1,380 photographs",
        stages=(FOREST_STAGE,),
        build=from_trained("random-forest-5", _random_forest),
        load=_random_forest,
        trained=True,
        cpu_only="TensorRT has no operator for decision trees",
    ),
    System(
        id="hmm-5",
        document="document 002",
        framework="hmmlearn",
        description="gray crop -> principal components -> a hidden Markov model of 10 states for each of 5 emotions; trained on FER2013",
        reported="accuracy 0.224, macro F1 0.078, on a part of its own 1,380 photographs; it concludes that such models suit sequences, not single pictures",
        stages=(HMM_STAGE,),
        build=from_trained("hmm-5", _hmm),
        load=_hmm,
        trained=True,
    ),
    System(
        id="pca-mlp",
        document="document 004, related work (Padgett and Cottrell 1995)",
        framework="scikit-learn",
        description="equalised gray crop -> principal components -> perceptron -> 6 emotions; trained on FER2013",
        reported="no accuracy; 8 components keep 80 % of what all of them give",
        stages=(PCA_MLP_STAGE,),
        build=from_trained("pca-mlp", _pca_mlp),
        load=_pca_mlp,
        trained=True,
    ),
)
