"""Pictures: colours and numbers in them are checked, and that nothing is drawn wrong in silence."""

import math

import matplotlib.style
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from torch import nn

from segkit import plots
from segkit.checks.alignment import Alignment
from segkit.facades import CLASSES, IMAGENET_MEAN, IMAGENET_STD, PALETTE
from segkit.history import EpochRecord, History
from segkit.models import model_class
from segkit.plots.network import trace
from segkit.plots.style import label_picture, photograph


def texts(figure) -> str:
    return "\n".join(item.get_text() for item in figure.findobj(matplotlib.text.Text))


def test_label_colours_are_those_of_the_database():
    label = torch.tensor([[0, 11], [255, 2]])
    expected = [[(0, 0, 170), (170, 0, 0)], [(0, 0, 0), (0, 85, 255)]]
    assert label_picture(label).tolist() == np.array(expected).tolist()


def test_legend_names_every_class_beside_its_own_colour():
    figure = plots.legend()
    axes = figure.axes[0]
    for index, name in enumerate(CLASSES):
        assert name in texts(figure)
        assert to_hex(axes.patches[index].get_facecolor()) == to_hex(PALETTE[index + 1] / 255)


def test_normalised_images_are_shown_in_their_true_colours():
    picture = torch.rand(3, 4, 5)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    assert np.allclose(photograph((picture - mean) / std), picture.permute(1, 2, 0), atol=1e-6)
    assert np.allclose(photograph(picture), picture.permute(1, 2, 0))


def test_gallery_shows_wrong_pixels_and_names_only_classes_that_occur():
    image, label = torch.rand(3, 6, 8), torch.full((6, 8), 2)
    label[0] = 255
    prediction = torch.full((6, 8), 2)
    prediction[5] = 4
    figure = plots.gallery([image], [label], [prediction], titles=["cmp_b0001"])
    shown = figure.axes[3].images[0].get_array()
    assert (shown[0] == 0).all() and (shown[5] == (213, 94, 0)).all() and (shown[1:5] == (228, 231, 235)).all()
    assert "cmp_b0001" in texts(figure) and "2 window" in texts(figure) and "4 cornice" in texts(figure)
    assert "shop" not in texts(figure)


def test_gallery_and_overlay_refuse_what_does_not_fit():
    image, label = torch.rand(3, 6, 8), torch.zeros(6, 8)
    with pytest.raises(ValueError, match="as many labels and predictions as images"):
        plots.gallery([image], [label, label])
    with pytest.raises(ValueError, match="one size"):
        plots.gallery([image], [label], [label[:3]])
    with pytest.raises(ValueError, match="image and label of one size"):
        plots.overlay(image, label[:3])


def test_overlay_leaves_unknown_pixels_as_they_are():
    image, label = torch.rand(3, 6, 8), torch.full((6, 8), 255)
    shown = plots.overlay(image, label).axes[1].images[0].get_array()
    assert np.allclose(shown, image.permute(1, 2, 0))


def history(epochs: int) -> History:
    def record(epoch):
        miou = 0.4 - abs(epoch - 2) / 10
        return EpochRecord(epoch, None if epoch == 0 else 1.0, 1.5, 0.5, miou, [miou] * 11 + [math.nan], 1e-4, 1.0)

    return History({}, [record(epoch) for epoch in range(epochs)])


@pytest.mark.parametrize("epochs", [1, 4, 30])
def test_curves_mark_the_best_epoch(epochs):
    figure = plots.curves(history(epochs))
    assert f"epoch {min(2, epochs - 1)}" in texts(figure) and "ln 12 = 2.485" in texts(figure)
    assert "absent" in texts(figure)
    assert plots.curves(history(epochs).to_json())


@pytest.mark.parametrize("score", [0.0, 0.027, 0.2, 0.95])
def test_the_best_score_is_written_within_its_panel(score):
    """A minute of quick mode from scratch ends at 0.03: below that point is the axis with its own words."""
    records = [EpochRecord(n, 1.0, 1.5, 0.5, n * score, [score] * 12, 1e-4, 1.0) for n in range(2)]
    figure = plots.curves(History({}, records))
    figure.draw_without_rendering()
    panel = figure.axes[1]
    words, inside = next(text for text in panel.texts if "epoch" in text.get_text()).get_window_extent(), panel.get_window_extent()
    assert inside.y0 <= words.y0 and words.y1 <= inside.y1


def test_confusion_rows_are_shares_of_the_true_class():
    hist = np.diag(np.full(12, 30.0))
    hist[0, 1] = 10
    figure = plots.confusion(hist)
    shown = figure.axes[0].images[0].get_array()
    assert np.allclose(shown.sum(1), 100) and shown[0, 0] == 75 and shown[0, 1] == 25
    assert "window" in texts(figure)
    with pytest.raises(ValueError, match="counts"):
        plots.confusion(np.zeros((2, 3)))


@pytest.mark.parametrize(("name", "padding"), [("fcn32s", 100), ("fcn16s", 100), ("fcn8s", 120)])
def test_crop_geometry_states_the_sizes_a_real_network_has(name, padding):
    """The reference network says how large its uncropped output is."""
    with torch.device("meta"):
        model = model_class(name)(padding=padding)
    last = trace(model, (207, 301))[-2]
    figure = plots.crop_geometry(padding, (207, 301), name)
    offset = {"fcn32s": 19, "fcn16s": 27, "fcn8s": 51}[name]
    assert f"uncropped {last.shape[1]} x {last.shape[2]}" in texts(figure) and f"[{offset}:{offset}+H" in texts(figure)


def test_crop_geometry_refuses_unknown_networks():
    with pytest.raises(ValueError, match="fcn32s, fcn16s, fcn8s"):
        plots.crop_geometry(network="unet")


@pytest.mark.parametrize(("padding", "size"), [(100, (96, 128)), (120, (207, 301))])
def test_the_three_crops_have_the_sizes_and_places_of_a_real_network(padding, size):
    """The reference network says how large its maps are."""
    with torch.device("meta"):
        steps = {step.name: step.shape[1:] for step in trace(model_class("fcn8s")(padding=padding), size)}
    figure = plots.skip_crops(padding, size)
    wholes = [steps["score_pool_4"], steps["score_pool_3"], steps["upscore3"]]
    keeps = [steps["upscore1"], steps["upscore2"], size]
    for axes, whole, kept, stride, offset in zip(figure.axes, wholes, keeps, (16, 8, 1), (5, 9, padding - 69), strict=True):
        text = " ".join(item.get_text() for item in axes.texts)
        assert f"{whole[0]} x {whole[1]}" in text and f"kept: {kept[0]} x {kept[1]}" in text and str(offset) in text
        _, outer, inner, frame, image = (patch.get_bbox() for patch in axes.patches)
        assert frame.bounds == inner.bounds
        assert (outer.height, outer.width) == (stride * whole[0], stride * whole[1])
        assert (inner.height, inner.width) == (stride * kept[0], stride * kept[1])
        assert inner.x0 - outer.x0 == inner.y0 - outer.y0 == stride * offset
        assert inner.x0 <= image.x0 == 0 and inner.x1 >= image.x1 == size[1] and inner.y1 >= image.y1 == size[0]


class Skipping(nn.Module):
    """Two pools, a skip from the first, a crop and a sum: a small FCN."""

    def __init__(self):
        super().__init__()
        self.conv1, self.pool1 = nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)
        self.conv2, self.pool2 = nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2)
        self.score, self.side = nn.Conv2d(16, 5, 1), nn.Conv2d(8, 5, 1)
        self.up, self.last = nn.ConvTranspose2d(5, 5, 4, 2), nn.ConvTranspose2d(5, 5, 2, 2)

    def forward(self, x):
        one = self.pool1(self.conv1(x).relu())
        two = self.pool2(self.conv2(one).relu())
        up = self.up(self.score(two))
        return self.last(self.side(one) + up[:, :, 1:-1, 1:-1])


def test_a_network_is_traced_with_sizes_and_sources():
    model = Skipping().train()
    before = [value.clone() for value in model.parameters()]
    steps = {step.name: step for step in trace(model, (32, 48))}
    assert steps["pool1"].shape == (8, 16, 24) and steps["up"].shape == (5, 18, 26)
    assert steps["conv1"].sources == ["input"] and steps["side"].sources == ["pool1"]
    assert steps["last"].sources == ["side", "up"] and steps["output"].sources == ["last"]
    assert steps["output"].shape == (5, 32, 48)
    assert model.training and not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_network_that_cannot_run_without_numbers_is_drawn_all_the_same():
    class Looking(Skipping):
        def forward(self, x):
            return super().forward(x) if float(x.sum()) == 0 else x

    assert len(trace(Looking(), (32, 48))) == len(trace(Skipping(), (32, 48)))


def test_the_picture_of_a_network_names_its_layers_and_the_skip():
    text = texts(plots.network(Skipping(), (32, 48)))
    assert "conv2  16" in text and "side   5 x 16 x 24" in text and "Skipping" in text


def test_alignment_shows_the_measured_shift():
    rows, columns = torch.meshgrid(torch.arange(64.0) / 64, torch.arange(80.0) / 80, indexing="ij")
    ramp = 2 * torch.stack([rows, columns]) - 1
    output = ramp.clone()
    output[0] += 2 * 3 / 64  # each row shows what belongs three rows further down: it lies three rows too high
    found = Alignment({"score": (-3.0, 0.0)}, {"score": 1.0}, ramp, {"score": output})
    figure = plots.alignment(found)
    text = texts(figure)
    assert "dy = -3.0 px" in text and "dx = +0.0 px" in text and "+: too low" in text
    curve = figure.axes[1].get_lines()[-1].get_ydata()
    assert len(curve) == 64 and np.allclose(curve, -3.0, atol=1e-3), "the curve has the sign of the number above it"
    silent = Alignment({"score": None}, {"score": 0.0}, ramp, {"score": torch.zeros_like(ramp)})
    assert "nothing arrived" in texts(plots.alignment(silent))


def test_pictures_show_themselves_and_leave_settings_alone(recwarn):
    before = dict(matplotlib.rcParams)
    png = plots.legend()._repr_png_()
    assert png.startswith(b"\x89PNG") and dict(matplotlib.rcParams) == before
    assert not recwarn.list


def test_a_style_that_was_set_elsewhere_changes_no_picture():
    """Editors with a dark theme set ``dark_background``, which draws black axes: our dark names would not be seen on them."""
    hist = np.arange(144).reshape(12, 12)
    drawings = (plots.legend, lambda: plots.confusion(hist), lambda: plots.crop_geometry(100, (96, 128)))
    as_it_is = [draw()._repr_png_() for draw in drawings]
    with matplotlib.rc_context():
        matplotlib.style.use("dark_background")
        matplotlib.rcParams.update({"image.origin": "lower", "savefig.facecolor": "black", "font.size": 30})
        assert [draw()._repr_png_() for draw in drawings] == as_it_is
