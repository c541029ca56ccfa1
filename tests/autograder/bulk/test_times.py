"""Times with zones, their abbreviations and hours that happen twice. Expected values: by hand from the zones' rules."""

import pytest

from autograder.handins.bulk.times import TimeError, read_time, shown_time, zone_named

BERLIN, KOLKATA, MANILA = (zone_named(name) for name in ("Europe/Berlin", "Asia/Kolkata", "Asia/Manila"))


@pytest.mark.parametrize("text", [
    "2026-03-14 22:10:05 UTC", "2026-03-14T22:10:05Z", "2026-03-14 22_10_05 UTC", "2026-03-14-22-10-05", "2026-03-14 23:10:05 +0100",
    "2026-03-14 22:10:05", "2026-03-14 23:10:05 CET", "2026-03-14 18:10:05 EDT", "2026-03-14 15:10:05.000000 America/Los_Angeles",
    "2026-03-14 19:10:05 -03", "2026-03-14T23:10:05+01:00", "Mar 14, 2026 10:10:05 PM", "Saturday, March 14, 2026 11:10:05 PM CET",
    "2026-03-15 00:10:05 UTC+2", "2026-03-15T0710:05 JST", "2026-03-14 23:10:05 Europe/Berlin",
])  # fmt: skip
def test_times_are_read_however_systems_write_them(text):
    assert read_time(text)[0].isoformat() == "2026-03-14T22:10:05+00:00"


def test_a_folder_of_brightspace_has_no_colon_and_no_seconds():
    assert read_time("Oct 10, 2025 1022 AM", BERLIN)[0].isoformat() == "2025-10-10T08:22:00+00:00"
    assert read_time("Oct 10, 2025 110 PM", BERLIN)[0].isoformat() == "2025-10-10T11:10:00+00:00", "ten past one, not eleven"
    assert read_time("10 October 2025 2310", BERLIN)[0].isoformat() == "2025-10-10T21:10:00+00:00"
    assert read_time("Jan 1, 2026 1205 AM", BERLIN)[0].isoformat() == "2025-12-31T23:05:00+00:00"


@pytest.mark.parametrize("text", [
    "Mar 14, 2026 1010\u202fPM", "Mar 14, 2026 10:10\u00a0PM", "14 March, 2026 10:10 PM", "14 March, 2026 22.10",
    "2026/03/14 22:10", "Saturday, 14 March 2026, 10:10 PM",
])  # fmt: skip
def test_blanks_commas_dots_and_strokes_of_other_countries_are_read(text):
    assert read_time(text, BERLIN)[0].isoformat() == "2026-03-14T21:10:00+00:00"


@pytest.mark.parametrize("text", [
    "3. März 2026, 23:59", "Dienstag, 3. März 2026, 23:59", "3. Mrz. 2026 23:59 Uhr", "3 März 2026 um 23:59", "mardi 3 mars 2026, 23:59",
    "3 mars 2026 à 23:59", "martes, 3 de marzo de 2026, 23:59", "3 de marzo de 2026 23:59", "Tuesday, 3 March 2026, 11:59 PM",
    "3. MÄRZ 2026 23:59 CET", "3. Ma\u0308rz 2026, 23:59", "Di., 3. März 2026, 23.59 Uhr",
])  # fmt: skip
def test_months_of_four_languages_are_read(text):
    assert read_time(text, BERLIN)[0].isoformat() == "2026-03-03T22:59:00+00:00"


@pytest.mark.parametrize(("number", "words"), [
    (1, "Januar Jänner janvier enero Jan"), (2, "Februar février febrero feb"), (4, "April avril abril abr"), (5, "Mai mai mayo May"),
    (6, "Juni juin junio"), (7, "Juli juillet julio juil"), (8, "August août agosto"), (9, "September septembre septiembre sept Sept."),
    (10, "Oktober octobre octubre Okt."), (11, "November novembre noviembre"), (12, "Dezember décembre diciembre Dez. déc. dic"),
])  # fmt: skip
def test_every_month_is_its_own(number, words):
    for word in words.split():
        assert read_time(f"17 {word} 2026, 12:00")[0].isoformat() == f"2026-{number:02}-17T12:00:00+00:00"


@pytest.mark.parametrize("text", ["03/04/2026 22:10", "3.4.2026 22:10", "2026/13/14 22:10", "14 March, 2026 22.99"])
def test_a_time_that_countries_read_differently_or_that_is_none_is_refused(text):
    with pytest.raises(TimeError, match="expected a time such as"):
        read_time(text, BERLIN)


@pytest.mark.parametrize(("text", "hour"), [("2026-07-14 12:00 CEST", 10), ("2026-07-14 12:00 CET", 11), ("2026-07-14 12:00", 10)])
def test_an_abbreviation_of_the_other_season_means_its_own_offset(text, hour):
    assert read_time(text, BERLIN)[0].hour == hour


def test_an_hour_that_happens_twice_is_read_in_the_students_favour_and_said():
    """In Berlin clocks go from 3:00 back to 2:00 on 25 October 2026, and from 2:00 to 3:00 on 29 March."""
    early, note = read_time("2026-10-25 02:30", BERLIN)
    late, _ = read_time("2026-10-25 02:30", BERLIN, latest=True)
    assert (early.hour, late.hour) == (0, 1) and "in the student's favour" in note
    assert read_time("2026-10-25 02:30 CEST", BERLIN) == (early, "") and read_time("2026-10-25 02:30 CET", BERLIN) == (late, "")
    early, note = read_time("2026-03-29 02:30", BERLIN)
    late, _ = read_time("2026-03-29 02:30", BERLIN, latest=True)
    assert (early.hour, late.hour) == (0, 1) and note


def test_a_day_without_an_hour_ends_at_its_end_and_begins_at_its_beginning():
    assert read_time("2026-03-14", BERLIN)[0].isoformat() == "2026-03-13T23:00:00+00:00"
    end, note = read_time("2026-03-14", BERLIN, latest=True)
    assert end.isoformat() == "2026-03-14T22:59:59+00:00" and "the end of that day was taken" in note


def test_letters_that_several_zones_share_mean_the_stated_zone_or_are_named():
    assert read_time("2026-03-14 12:00 IST", KOLKATA)[0].isoformat() == "2026-03-14T06:30:00+00:00"
    assert read_time("2026-03-14 12:00 PST", MANILA)[0].hour == 4
    assert read_time("2026-03-14 12:00 PST", BERLIN)[0].hour == 20, "what mail means by it"
    with pytest.raises(TimeError, match="IST is the name of 2 different zones. Say which one with --zone"):
        read_time("2026-03-14 12:00 IST", BERLIN)


@pytest.mark.parametrize("text", [
    "", "tomorrow", "2026-13-01", "2026-03-14 25:00", "14.03.2026 23:59", "2026-03-14 12:00 XYZ", "2026-03-14 12:00 Europe/Nowhere",
    "2026-03-14 12:00 ../../etc/passwd", "2026-03-14 12:00 +99:00", "2026-03-14T12:00:00 and more", "99999-01-01", "Foo 14, 2026 1010 PM",
])  # fmt: skip
def test_what_is_no_time_is_named(text):
    with pytest.raises(TimeError, match="expected"):
        read_time(text)


def test_the_machines_zone_is_the_default_and_a_zone_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    assert shown_time(read_time("2026-03-14 12:00", zone_named())[0], zone_named()) == "2026-03-14 12:00:00 IST (Asia/Kolkata)"
    with pytest.raises(TimeError, match="expected a time zone such as Europe/Berlin .* found 'Berlin'"):
        zone_named("Berlin")
    monkeypatch.setenv("TZ", "CET-1CEST")  # the rules themselves, as POSIX has them
    assert shown_time(read_time("2026-03-14 12:00 UTC")[0], zone_named()).startswith("2026-03-14 12:00:00 UTC")
