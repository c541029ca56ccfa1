"""Check of the offset that students work out for the crop of FCN-32s."""

from collections.abc import Callable
from functools import partial

from segkit.checks.report import Report, describe_value
from segkit.upsampling import MIN_PADDING, CropGeometry

__all__ = ["check_offset"]

STAMP = 31.5  # middle of the 64 rows onto which score cell 0 is stamped
PADDINGS = (MIN_PADDING, 103, 116)


def check_offset(offset: Callable[[int], int]) -> Report:
    """Check where the crop of FCN-32s begins, for several paddings.

    Args:
        offset: The student's function: padding of ``conv1_1`` in pixels -> row of the upsampled map.

    Returns:
        The printed report.
    """
    report = Report()
    for padding in PADDINGS:
        looks = CropGeometry(padding).score_centre(0)
        ran, found = report.run(f"padding {padding}", partial(offset, padding))
        if not ran:
            return report
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            report.fault(f"padding {padding}", "a number", describe_value(found), "return the number", "crop.shift")
        else:
            detail = f"{found:g}: there cell 0, which looks at row {looks:g}, lies {STAMP:g} rows from the map's first"
            report.expect(found == STAMP - looks, f"padding {padding}", "the row where both meet", f"{found:g}",
                          _cause(found, padding, looks), detail, "crop.shift")  # fmt: skip
    if report and not isinstance(found, int):
        report.fault("a whole number", "an int, which can cut a map", describe_value(found), "wrap it in int()", "crop.shift")
    return report


def _cause(found: float, padding: int, looks: float) -> str:
    known = {
        looks: "this is where cell 0 looks in the picture: how far is that from its place in the upsampled map?",
        STAMP: "this is where cell 0 lies in the upsampled map: how far is that from where it looks in the picture?",
        looks - STAMP: "the sign: the picture begins inside of the upsampled map, so its row is positive",
        looks + STAMP: "the two places are subtracted, not added",
        padding: "the frame alone: the pools, fc6 and the stamp move the cells too",
    }
    if found in known:
        return known[found]
    if abs(found - (STAMP - looks)) <= 1:
        return "off by one, or by half: rows 0 to 63 have their middle at 31.5"
    return "a number for one padding alone? The row follows from the padding: where cell 0 lies in the map, less where it looks"
