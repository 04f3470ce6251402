"""What a rendered face shows, drawn from a seed: a person, an expression and a shot. Everything is written down beside the picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from calibration.rendering.raster import Array
from edge.stage import Strict

Color = tuple[float, float, float]

# Action unit: blend shapes that make it, with their weight at full intensity. `*` stands for both sides.
# Source: names of ICT-FaceKit's shapes against Ekman, Friesen and Hager 2002 (FACS); the weights were set by eye.
ACTION_UNIT_SHAPES: Mapping[str, Mapping[str, float]] = {
    "AU1": {"browInnerUp_*": 1.0},
    "AU2": {"browOuterUp_*": 1.0},
    "AU4": {"browDown_*": 1.0},
    "AU5": {"eyeWide_*": 1.0},
    "AU6": {"cheekRaiser_*": 0.7, "cheekSquint_*": 0.6, "eyeSquint_*": 0.4},
    "AU7": {"eyeSquint_*": 1.0},
    "AU9": {"noseSneer_*": 1.0},
    "AU10": {"mouthUpperUp_*": 1.0},
    "AU12": {"mouthSmile_*": 0.9},
    "AU15": {"mouthFrown_*": 1.0},
    "AU16": {"mouthLowerDown_*": 1.0},
    "AU17": {"mouthShrugLower": 0.8, "mouthShrugUpper": 0.3},
    "AU20": {"mouthStretch_*": 1.0},
    "AU23": {"mouthPress_*": 0.7, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    "AU26": {"jawOpen": 0.55},
}
# Action units of the emotions. Source: Ekman and Friesen's EMFACS prototypes, less what the fifteen units lack.
_PROTOTYPES: tuple[tuple[str, ...], ...] = (
    (),
    ("AU6", "AU12"),
    ("AU12", "AU6", "AU26", "AU10"),
    ("AU1", "AU2", "AU5", "AU26"),
    ("AU4", "AU5", "AU7", "AU23"),
    ("AU4", "AU7", "AU9", "AU10", "AU16", "AU26"),
    ("AU9", "AU10", "AU15", "AU17"),
    ("AU1", "AU4", "AU15", "AU17"),
    ("AU1", "AU2", "AU4", "AU5", "AU20", "AU26"),
)
# Of independent units: how often each is seen, and how weak it may be. With a quarter of fifteen units a face shows 3.75 of them on average.
_INDEPENDENT_ODDS = 0.25
_LEAST_INTENSITY = 0.2
_FREE_SHAPES = ("jawLeft", "jawRight", "mouthLeft", "mouthRight", "mouthPucker", "mouthFunnel", "cheekPuff_*", "mouthDimple_*", "jawForward")


class Person(Strict, frozen=True):
    """What stays the same in all pictures of somebody: weights of the model's identities, colours (sRGB in [0, 1]), hair.

    Attributes:
        identity: Weights, see `FaceModel.posed`.
        skin: Of the cheeks in white light.
        lips: How much redder the lips are, 0 to 1.
        hair: Colour.
        hairline_cm: Height above the brows where the hair begins; large for a bald head.
        hair_cm: How far it stands off.
        long_hair: How far it reaches below the ears, 0 for short hair.
        brows: How dense the brows are, 0 to 1.
        beard: How dense a beard is, 0 to 1.
        iris: Colour.
        glasses: Thickness of the rims in centimetres, 0 for none.
        paint: Seed of spots, strands and the ragged edge of the hair.
    """

    identity: tuple[float, ...]
    skin: Color
    lips: float
    hair: Color
    hairline_cm: float
    hair_cm: float
    long_hair: float
    brows: float
    beard: float
    iris: Color
    glasses: float
    paint: int


class Shot(Strict, frozen=True):
    """How the picture was taken.

    Attributes:
        yaw_deg: As in `edge.result.Pose`.
        pitch_deg: As in `edge.result.Pose`.
        roll_deg: As in `edge.result.Pose`.
        distance_cm: From the camera.
        width_px: Of the face, across 15 cm.
        shift_px: Of the head's centre from the picture's, x and y.
        light: Direction of the lamp: x to the right, y up, z to the viewer.
        lamp: Its colour times its strength, linear.
        ambient: Colour and strength of the light from all sides, linear.
        backdrop: Seed of what is behind.
        clothes: Colour, sRGB.
    """

    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    distance_cm: float
    width_px: float
    shift_px: tuple[float, float]
    light: tuple[float, float, float]
    lamp: Color
    ambient: Color
    backdrop: int
    clothes: Color


class Scene(Strict, frozen=True):
    """A picture to be rendered.

    Attributes:
        name: Of the person.
        person: Who.
        action_units: Intensities in [0, 1] that the expression is made of.
        shapes: Weights of the model's shapes that follow, and of others that no unit names.
        shot: How it is taken.
    """

    name: str
    person: Person
    action_units: dict[str, float]
    shapes: dict[str, float]
    shot: Shot


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a person: shape, skin from very light to very dark, hair, beard, brows, glasses."""
    tone = rng.beta(1.0, 1.4)
    light, dark = np.array([0.96, 0.80, 0.72]), np.array([0.36, 0.24, 0.18])
    skin = light * (1 - tone) + dark * tone + rng.normal(0, 0.02, 3)
    hairs = ([0.12, 0.10, 0.09], [0.25, 0.18, 0.13], [0.45, 0.33, 0.22], [0.75, 0.62, 0.42], [0.68, 0.67, 0.66], [0.55, 0.30, 0.18])
    # Fair hair goes with fair skin, but for the gray and the dyed.
    odds = np.array([0.35, 0.25, 0.15, 0.1, 0.1, 0.05]) * [1, 1, *(3 * [1.0 if tone < 0.5 else 0.15]), 1]
    hair = np.array(hairs[rng.choice(len(hairs), p=odds / odds.sum())]) * rng.uniform(0.7, 1.2)
    irises = ([0.30, 0.19, 0.12], [0.42, 0.31, 0.20], [0.38, 0.50, 0.62], [0.42, 0.50, 0.38])
    bearded = rng.uniform() < 0.25
    hairline_cm = float(rng.choice([rng.uniform(2.2, 4.5), rng.uniform(4.5, 7.0), 30.0], p=[0.5, 0.42, 0.08]))
    return Person(
        identity=_rounded(rng.normal(0, 0.9, 40)),
        skin=_color(skin),
        lips=round(float(rng.uniform(0.1, 0.9)), 2),
        hair=_color(hair),
        hairline_cm=round(hairline_cm, 2),
        hair_cm=round(float(rng.uniform(0.1, 1.6)), 2),
        long_hair=0.0 if bearded or hairline_cm > 10 else round(float(rng.choice([0.0, rng.uniform(4, 14)])), 1),
        brows=round(float(rng.uniform(0.3, 1.0)), 2),
        beard=round(float(rng.uniform(0.3, 0.95)), 2) if bearded else 0.0,
        iris=_color(np.array(irises[rng.integers(4)])),
        glasses=round(float(rng.uniform(0.15, 0.4)), 2) if rng.uniform() < 0.15 else 0.0,
        paint=int(rng.integers(2**31)),
    )


def draw_scene(rng: np.random.Generator, *, name: str, person: Person, size_px: int) -> Scene:
    """Draw a picture of a person: expression, pose, light, backdrop. Expressions lie around those of emotions, as faces mostly do."""
    units: dict[str, float] = {}
    prototype = _PROTOTYPES[rng.integers(len(_PROTOTYPES))]
    strength = rng.uniform(0.3, 1.1)
    for unit in prototype:
        if rng.uniform() < 0.85:
            units[unit] = strength * rng.uniform(0.6, 1.2)
    for unit in rng.choice(list(ACTION_UNIT_SHAPES), rng.integers(0, 4), replace=False):
        units[str(unit)] = units.get(str(unit), 0.0) + rng.beta(1.2, 2.0)
    return _scene(rng, units, name=name, person=person, size_px=size_px, open_eyed=("AU5",))


def draw_independent_scene(rng: np.random.Generator, *, name: str, person: Person, size_px: int) -> Scene:
    """Draw a picture of a person whose action units are drawn each on its own: no unit can be told from the others, or from an emotion.

    Eyes that are half shut because somebody blinks look as those of AU6 and AU7 do: nobody blinks while a unit moves the lids.
    """
    units = {unit: rng.uniform(_LEAST_INTENSITY, 1.0) for unit in ACTION_UNIT_SHAPES if rng.uniform() < _INDEPENDENT_ODDS}
    return _scene(rng, units, name=name, person=person, size_px=size_px, open_eyed=("AU5", "AU6", "AU7"))


def _scene(rng: np.random.Generator, units: Mapping[str, float], *, name: str, person: Person, size_px: int, open_eyed: Collection[str]) -> Scene:
    units = {unit: round(float(min(value, 1.0)), 3) for unit, value in units.items() if unit in ACTION_UNIT_SHAPES}
    shapes = _shapes(rng, units, blinks=not units.keys() & set(open_eyed))
    return Scene(name=name, person=person, action_units=dict(units), shapes=shapes, shot=_shot(rng, size_px))


def _shapes(rng: np.random.Generator, units: Mapping[str, float], *, blinks: bool) -> dict[str, float]:
    weights: dict[str, float] = {}
    for unit, value in units.items():
        lean = rng.normal(0, 0.08)
        for shape, share in ACTION_UNIT_SHAPES[unit].items():
            _add(weights, shape, value * share, lean)
    if rng.uniform() < 0.3:
        _add(weights, str(rng.choice(_FREE_SHAPES)), rng.beta(1.2, 2.5), rng.normal(0, 0.1))
    across, up = rng.normal(0, 0.3, 2)
    for letter, outwards in (("L", across), ("R", -across)):
        _add(weights, f"eyeLook{'Out' if outwards > 0 else 'In'}_{letter}", abs(outwards), 0.0)
        _add(weights, f"eyeLook{'Up' if up > 0 else 'Down'}_{letter}", abs(up), 0.0)
    if blinks:
        _add(weights, "eyeBlink_*", rng.choice([0.0, rng.uniform(0.0, 0.25), rng.uniform(0.6, 1.0)], p=[0.5, 0.38, 0.12]), 0.0)
    return {name: round(float(np.clip(weight, 0, 1)), 3) for name, weight in sorted(weights.items()) if weight >= 0.005}


def _add(weights: dict[str, float], shape: str, weight: float, lean: float) -> None:
    sides = ((shape.replace("*", "L"), 1 + lean), (shape.replace("*", "R"), 1 - lean)) if "*" in shape else ((shape, 1.0),)
    for name, factor in sides:
        weights[name] = weights.get(name, 0.0) + float(weight) * factor


def _shot(rng: np.random.Generator, size_px: int) -> Shot:
    side, height = rng.uniform(-1.2, 1.2), rng.uniform(-0.3, 1.1)
    warmth = rng.uniform(-0.15, 0.15)
    tint = np.array([1 + warmth, 1.0, 1 - warmth])
    ambient = rng.uniform(0.1, 0.6)
    return Shot(
        yaw_deg=round(float(np.clip(rng.normal(0, 18), -40, 40)), 1),
        pitch_deg=round(float(np.clip(rng.normal(0, 11), -28, 28)), 1),
        roll_deg=round(float(np.clip(rng.normal(0, 8), -25, 25)), 1),
        distance_cm=round(float(rng.uniform(45, 120)), 1),
        width_px=round(float(size_px * rng.uniform(0.4, 0.56)), 1),
        shift_px=_pair(rng.normal(0, size_px * 0.02, 2)),
        light=_color(np.array([side, height, 1.0])),
        lamp=_color(tint * rng.uniform(0.25, 1.25)),
        ambient=_color(tint[::-1] * ambient),
        backdrop=int(rng.integers(2**31)),
        clothes=_color(rng.uniform(0.1, 0.9) * rng.uniform(0.7, 1.1, 3)),
    )


def _rounded(values: Array) -> tuple[float, ...]:
    return tuple(round(float(value), 2) for value in values)


def _color(values: Array) -> Color:
    red, green, blue = (round(float(value), 3) for value in values)
    return red, green, blue


def _pair(values: Array) -> tuple[float, float]:
    return round(float(values[0]), 1), round(float(values[1]), 1)
