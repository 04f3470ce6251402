"""How deep a ResNet may be, and how its blocks are spread. Needs no PyTorch, so that the table of systems can ask."""

from __future__ import annotations

from edge.errors import ConfigError

# Of a ResNet whose depth can be chosen. Source: document 004 (8 is ResNet18; more than 50 were too slow for it).
MIN_BLOCKS, MAX_BLOCKS = 8, 60


def blocks_of_stages(blocks: int) -> tuple[int, int, int, int]:
    """Spread residual blocks over the four stages of a ResNet.

    The published networks are met where one has that many: 8 (ResNet18), 16 (34 and 50), 33 (101), 50 (152). In between, the third stage takes what the
    smaller one lacks, as it does from ResNet50 to ResNet101.

    Args:
        blocks: How many in all, 8 to 60.

    Returns:
        Blocks of the stages with 64, 128, 256 and 512 channels.

    Raises:
        ConfigError: Fewer than 8 or more than 60.

    Source: He et al. 2016, doi:10.1109/CVPR.2016.90, table 1.
    """
    if not MIN_BLOCKS <= blocks <= MAX_BLOCKS:
        raise ConfigError(f"expected {MIN_BLOCKS} to {MAX_BLOCKS} residual blocks, got {blocks}", hint="8 is ResNet18, 16 is ResNet34")
    first, second, fourth = (2, 2, 2) if blocks < 16 else (3, 4, 3) if blocks < 50 else (3, 8, 3)
    return first, second, blocks - first - second - fourth, fourth
