"""Geometry on the sphere against astropy: pairs, separations, and regions that may not lose a neighbour."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import angular_separation
from hypothesis import given, settings
from hypothesis import strategies as st
from sky_tables import patch, separations, sources

from scope_dask.crossmatch.sphere import Positions, Regions, separation_arcsec, unit_vectors

PLACES = {"equator": (150.0, 0.0), "across ra 0": (359.9999, -33.0), "pole": (12.0, 89.9999), "south": (200.0, -90.0)}

FIRST = np.zeros(1, np.int64)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("radius", [2.0, 300.0, 40000.0])
@pytest.mark.parametrize("count", [10, 60], ids=["few positions", "many positions"])
def test_pairs_are_those_of_all_separations(place, radius, count) -> None:
    rng = np.random.default_rng(5)
    width = 5 * radius / 3600
    ours, theirs = patch(rng, *place, count, width), patch(rng, *place, 400, width)
    i, j = Positions(*ours).pairs(Positions(*theirs), radius)
    expected = separations(sources(*ours), *theirs) <= radius
    found = np.zeros_like(expected)
    found[i, j] = True
    assert expected.any()
    assert len(i) == expected.sum()
    np.testing.assert_array_equal(found, expected)


def test_positions_that_are_the_same() -> None:
    same = Positions(np.full(40, 10.0), np.full(40, -5.0))
    for ours in (same, Positions([10.0, 10.0], [-5.0, -5.0])):
        i, j = ours.pairs(same, 1e-6)
        assert len(i) == len(j) == len(set(zip(i, j, strict=True))) == len(ours) * 40


@settings(max_examples=200, deadline=None)
@given(
    st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360), st.floats(-12, 5).map(lambda x: 10.0**x)
)  # fmt: skip
def test_separations_are_astropys(ra, dec, angle, arcsec) -> None:
    theta, distance = np.radians(angle), np.radians(arcsec / 3600)
    to = np.clip(dec + np.degrees(distance) * np.sin(theta), -90, 90), ra + np.degrees(distance) * np.cos(theta)
    ours = separation_arcsec(unit_vectors([ra], [dec]), FIRST, unit_vectors([to[1]], [to[0]]), FIRST)
    exact = angular_separation(*np.radians([ra, dec, to[1], to[0]]))
    # Coordinates and vectors carry a rounding of some 1e-16, degrees to radians up to 6 of them.
    np.testing.assert_allclose(ours, np.degrees(exact) * 3600, rtol=1e-12, atol=5e-10)


@settings(max_examples=300, deadline=None)
@given(
    ra=st.floats(0, 360),
    width=st.floats(0, 360),
    dec=st.floats(-90, 90),
    height=st.floats(0, 180),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    offset=st.tuples(st.floats(0, 360), st.floats(0, 1)),
    radius=st.floats(0.1, 100000),
)
def test_no_region_with_a_neighbour_is_passed_over(ra, width, dec, height, at, offset, radius) -> None:
    west, east, south, north = ra, min(ra + width, 360.0), dec, min(dec + height, 90.0)
    inside = (west + at[0] * (east - west), min(south + at[1] * (north - south), north))
    source = patch_at(inside, offset[0], 0.999999 * offset[1] * radius)
    regions = Regions.of_boxes(
        (np.array([west, -np.inf]), np.array([east, np.inf])), (np.array([south, -np.inf]), np.array([north, np.inf]))
    )
    assert Positions(*source).near(regions, radius).all()


def patch_at(point: tuple[float, float], angle: float, arcsec: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the position `arcsec` away from a point."""
    a, b = unit_vectors([point[0]], [point[1]])[0], np.radians([point[0], point[1]])
    north = np.array([-np.sin(b[1]) * np.cos(b[0]), -np.sin(b[1]) * np.sin(b[0]), np.cos(b[1])])
    east = np.array([-np.sin(b[0]), np.cos(b[0]), 0.0])
    r, t = np.radians(arcsec / 3600), np.radians(angle)
    x = np.cos(r) * a + np.sin(r) * (np.cos(t) * north + np.sin(t) * east)
    return np.degrees([np.arctan2(x[1], x[0])]), np.degrees([np.arctan2(x[2], np.hypot(x[0], x[1]))])


def test_regions_far_away_are_passed_over() -> None:
    low, high = np.array([10.0, 10.0, 200.0]), np.array([11.0, 11.0, 201.0])
    regions = Regions.of_boxes((low, high), (np.array([20.0, -30.0, 20.0]), np.array([21.0, -29.0, 21.0])))
    assert Positions([10.5, 11.001], [20.5, 20.5]).near(regions, 60.0).tolist() == [True, False, False]
