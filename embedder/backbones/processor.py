"""Read preprocessing from preprocessor_config.json, as the image processors of transformers do."""

from typing import Any

from embedder.decoding.preprocessing import Preprocessing, Resize

BILINEAR = 2
IMAGENET_CROP = 384
Size = dict[str, int] | int


def preprocessing_of(processor: dict[str, Any], model_type: str, vision: dict[str, Any]) -> Preprocessing:
    """Return what the processor does to an image. Raises ValueError, KeyError or TypeError if that is not supported."""
    if not processor.get("do_resize", True):
        raise ValueError("without a resize, inputs have no fixed size")
    size = processor.get("size", vision.get("image_size", 224))
    resize, height, width = _resize(size, model_type)
    crop_height, crop_width = height, width
    if "convnext" in model_type and resize == "shortest_edge":
        height, width, resize = _convnext(height, float(processor.get("crop_pct") or 224 / 256))
    elif processor.get("do_center_crop", False):
        crop_height, crop_width = _crop(processor.get("crop_size", size))
    elif resize == "shortest_edge":
        raise ValueError("after a resize by the shortest edge and no crop, inputs have no fixed size")
    mean, std = _normalisation(processor)
    resample = int(processor.get("resample", BILINEAR))
    return Preprocessing(resize, height, width, crop_height, crop_width, resample, mean, std)


def _resize(size: Size, model_type: str) -> tuple[Resize, int, int]:
    if isinstance(size, int):
        by_edge = model_type in ("clip", "clip_vision_model") or "convnext" in model_type
        return ("shortest_edge" if by_edge else "exact"), size, size
    if "shortest_edge" in size:
        return "shortest_edge", int(size["shortest_edge"]), int(size["shortest_edge"])
    return "exact", int(size["height"]), int(size["width"])


def _convnext(edge: int, crop_share: float) -> tuple[int, int, Resize]:
    """Return the resize of ConvNeXt: to edge / crop_pct before a crop to edge, but from 384 on to a square."""
    if edge >= IMAGENET_CROP:
        return edge, edge, "exact"
    enlarged = int(edge / crop_share)
    return enlarged, enlarged, "shortest_edge"


def _crop(size: Size) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _normalisation(processor: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation for pixels from 0 to 255."""
    factor = float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 1.0
    if not processor.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1 / factor, 1 / factor, 1 / factor)
    mean = [round(float(value) / factor, 6) for value in processor["image_mean"]]
    std = [round(float(value) / factor, 6) for value in processor["image_std"]]
    return (mean[0], mean[1], mean[2]), (std[0], std[1], std[2])
