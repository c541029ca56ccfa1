"""Draw the pictures of the README from a graded demo class: ``python docs/make_pictures.py`` after ``make demo``.

The class page is photographed by headless Chromium where it is installed.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segkit.facades import IMAGENET_MEAN, IMAGENET_STD
from segkit.models import model_class
from segkit.plots import crop_geometry, gallery, network
from segkit.transforms import normalize, to_tensor

HERE = Path(__file__).resolve().parent
PICTURES = HERE / "pictures"


def shrink(path: Path, width: int) -> None:
    """Save a picture again, smaller: at most ``width`` pixels wide, with a palette of 256 colours."""
    with Image.open(path) as picture:
        picture = picture.convert("RGB")
        if picture.width > width:
            picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def predictions(demo: Path) -> None:
    """Photographs, labels and predictions of FCN-8s, from the report of the submission with all points."""
    folder = demo / "perfect"
    entries = [entry for entry in json.loads((folder / "pictures.json").read_text()) if entry["check"] == "fcn8s.miou"][:2]
    images = [normalize(to_tensor(Image.open(folder / entry["image"])), IMAGENET_MEAN, IMAGENET_STD) for entry in entries]
    labels = [torch.from_numpy(np.array(Image.open(folder / entry["label"]))).long() for entry in entries]
    found = [torch.from_numpy(np.array(Image.open(folder / entry["prediction"]))).long() for entry in entries]
    labels = [torch.where(label >= 12, 255, label) for label in labels]
    gallery(images, labels, found, titles=[entry["name"] for entry in entries]).savefig(PICTURES / "predictions.png", dpi=110)
    shrink(PICTURES / "predictions.png", 1000)


def drawings() -> None:
    """FCN-8s drawn from itself, and the geometry of its crop."""
    with torch.device("meta"):
        model = model_class("fcn8s")()
    network(model, (160, 224)).savefig(PICTURES / "fcn8s.png", dpi=100)
    crop_geometry(100, (160, 224)).savefig(PICTURES / "crop.png", dpi=100)
    shrink(PICTURES / "fcn8s.png", 1100)
    shrink(PICTURES / "crop.png", 1000)


def page(html: Path, out: Path, size: tuple[int, int]) -> None:
    """Photograph a page."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        print(f"no Chromium here: {out.name} was left as it is")
        return
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
             f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", f"--screenshot={out}", html.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
    shrink(out, 1000)


def main() -> None:
    demo = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "build" / "demo"
    if not (demo / "index.html").is_file():
        sys.exit(f"{demo} holds no graded class; run `make demo` first.")
    PICTURES.mkdir(exist_ok=True)
    drawings()
    predictions(demo)
    page(demo / "index.html", PICTURES / "class.png", (1150, 1500))
    print("\n".join(f"{path.name}: {path.stat().st_size // 1024} KiB" for path in sorted(PICTURES.glob("*.png"))))


if __name__ == "__main__":
    main()
