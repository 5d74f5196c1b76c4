"""Cones and statistics against astropy and brute force."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.errors import OptionError
from scope_dask.sources import read_archive
from scope_dask.sources.selection import Selection, in_cone

Write = Callable[..., Path]

ANGLE = st.floats(0, 360, exclude_max=True)
DECLINATION = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, -89.9999, 0.0]))
RADIUS = st.one_of(st.floats(0.01, 3600), st.floats(3600, 648000))


@settings(deadline=None, max_examples=60)
@given(ra=ANGLE, dec=DECLINATION, radius=RADIUS, seed=st.integers(0, 1000))
def test_cone_agrees_with_astropy(ra: float, dec: float, radius: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    near = centre.directional_offset_by(rng.uniform(0, 360, 200) * u.deg, rng.uniform(0, 2, 200) * radius * u.arcsec)
    separation = centre.separation(near).arcsec
    # Both work in float64 radians: 1e-15 rad are 2e-10 arcsec; near 180 deg the chord is flat and loses
    # half the digits.
    decided = abs(separation - radius) > np.where(separation > 6e5, 1e-2, 1e-8)
    found = in_cone((ra, dec, radius), near.ra.deg, near.dec.deg)
    assert np.array_equal(found[decided], (separation <= radius)[decided])


@settings(deadline=None, max_examples=200)
@given(
    ra=ANGLE,
    dec=DECLINATION,
    radius=RADIUS,
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.01, 5.0, 200.0]),
)
def test_no_row_group_with_a_match_is_left_out(ra: float, dec: float, radius: float, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    centre = SkyCoord(ra * u.deg, dec * u.deg)
    seen = centre.directional_offset_by(rng.uniform(0, 360) * u.deg, rng.uniform(0, 2) * radius * u.arcsec)
    ras = np.mod(seen.ra.deg + rng.uniform(-spread, spread, 20), 360)
    decs = np.clip(seen.dec.deg + rng.uniform(-spread, spread, 20) / 2, -90, 90)
    selection = Selection.of(cone=(ra, dec, radius))
    ranges = {
        "ra": (ras[:1] * 0 + ras.min(), ras[:1] * 0 + ras.max()),
        "dec": (np.array([decs.min()]), np.array([decs.max()])),
    }
    if in_cone((ra, dec, radius), ras, decs).any():
        assert selection.row_groups(ranges, None, 1).all()


def test_row_groups_across_the_meridian_and_far_away() -> None:
    low, high = np.array([0.0, 359.0, 10.0, 0.0, -np.inf]), np.array([1.0, 360.0, 20.0, 360.0, np.inf])
    dec = np.full(5, -1.0), np.full(5, 1.0)
    for centre in (0.0, 359.9999, -0.00001, 720.0):
        keep = Selection.of(cone=(centre, 0, 60)).row_groups({"ra": (low, high), "dec": dec}, None, 5)
        assert keep.tolist() == [True, True, False, True, True]
    assert not Selection.of(cone=(0, 2, 60)).row_groups({"ra": (low, high), "dec": dec}, None, 5).any()


def test_cone_at_the_poles_and_missing_positions() -> None:
    inside = in_cone((10, 90, 3600), np.array([10.0, 190.0, 77.0, np.nan]), np.array([89.5, 89.5, 88.9, 90.0]))
    assert inside.tolist() == [True, True, False, False]


@pytest.mark.parametrize("value", [296, [296], np.array([296, 296]), range(296, 297), np.int16(296)])
def test_integers_in_any_form(value: object) -> None:
    assert Selection.of(field=value).field == (296,)


def test_sources_is_light_until_used() -> None:
    program = "import sys, scope_dask.sources; print('dask.dataframe' in sys.modules, 'pyarrow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).split() == ["False", "False"]


def test_near_positions_against_brute_force(irsa_file: Write) -> None:
    table_path = irsa_file([2] * 400, row_group_size=20)
    everything = read_archive(table_path).compute()
    rng = np.random.default_rng(5)
    some = rng.choice(400, 30, replace=False)
    ra, dec = (everything[c].to_numpy()[some] + rng.uniform(-0.5, 0.5, 30) for c in ("ra", "dec"))
    dec = np.clip(dec, -90, 90)
    radius = 1500.0
    found = read_archive(table_path, near=(ra, dec, radius)).compute()
    cones = [(r, d, radius) for r, d in zip(ra, dec, strict=True)]
    keep = np.any([in_cone(cone, everything["ra"], everything["dec"]) for cone in cones], axis=0)
    assert 5 < keep.sum() < 30
    assert found["_id"].tolist() == everything["_id"][keep].tolist()
    assert len(read_archive(table_path, near=([], [], radius)).compute()) == 0


@pytest.mark.parametrize(
    ("near", "message"),
    [
        (([1.0], [2.0]), "near is .*, expected"),
        (([1.0, 2.0], [2.0], 1.0), "near has 2 right ascensions and 1 declinations"),
        (([1.0], [91.0], 1.0), "declinations of -90 to 90 deg"),
        (([np.nan], [1.0], 1.0), "expected as many of both, finite"),
        (([1.0], [1.0], -1.0), "near has a radius of -1.0, expected 0 to 648000 arcsec"),
    ],
)
def test_wrong_positions_are_named(irsa_file: Write, near: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_archive(irsa_file([2]), near=near)
