"""The offset of FCN-32s's crop: right in any spelling, and each slip is called by its name."""

import pytest

from segkit.checks import check_offset


@pytest.mark.parametrize("right", [lambda p: p - 81, lambda p: int(31.5 - (112.5 - p)), lambda p: 19 + (p - 100)])
def test_a_right_offset_passes(right, capsys):
    assert check_offset(right)
    assert all(line.startswith("[ok] ") for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize(("wrong", "words"), [
    (lambda p: 19, "for one padding alone"), (lambda p: 112.5 - p, "looks in the picture"), (lambda p: 31.5, "lies in the upsampled map"),
    (lambda p: 81 - p, "the sign"), (lambda p: 144 - p, "not added"), (lambda p: p, "the frame alone"), (lambda p: p - 80, "off by one"),
    (lambda p: p - 81.0, "int()"), (lambda p: None, "return the number"), (lambda p: p / 0, "ZeroDivisionError"),
])  # fmt: skip
def test_a_wrong_offset_is_told_why(wrong, words):
    report = check_offset(wrong)
    assert not report and words in str(report.fault_line)


def test_a_stub_is_said_to_be_unfinished():
    def offset(padding):
        raise NotImplementedError

    assert check_offset(offset).fault_line.code == "code.unfinished"
