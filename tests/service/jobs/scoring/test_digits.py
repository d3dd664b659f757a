"""Numbers have as many digits as their spread allows."""

from __future__ import annotations

import pytest

from service.jobs.scoring.report.digits import rounded, share, with_deviation


@pytest.mark.parametrize(
    ("value", "deviation", "written"),
    [
        (9.123456, 0.0456, "9.123 ± 0.046"),
        (1380.4, 123.4, "1,380 ± 123"),
        (0.000631, 0.000052, "0.000631 ± 0.000052"),
        (-0.00002, 0.0004, "-0.00002 ± 0.00040"),
        (0.000630913, 1e-16, "0.0006309"),
        (0.0, 0.0, "0"),
    ],
)
def test_a_deviation_has_two_digits_and_its_value_as_many_places(value: float, deviation: float, written: str) -> None:
    assert with_deviation(value, deviation) == written


def test_a_value_without_a_spread_has_four_digits() -> None:
    assert (rounded(1380.4521, 0), rounded(0.123456, 0), rounded(123456.7, 0)) == ("1,380", "0.1235", "123,457")


def test_a_share_has_the_digits_that_its_number_of_images_allows() -> None:
    assert (share(0.81234, 100), share(0.81234, 10_000), share(0, 100), share(1, 100)) == (
        "0.81",
        "0.812",
        "0.00",
        "1.00",
    )
    assert share(1.2345, 1000) == "1.23"
