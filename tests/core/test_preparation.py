from __future__ import annotations

import numpy as np
import pytest

from inktex.core.errors import BundleError, InputError
from inktex.core.manifest import Preprocessing
from inktex.core.preparation import prepare_image, rendering_of
from inktex.core.rendering import CANONICAL, Rendering, render_ink

STROKES = [
    np.array([[0.0, 0.0], [10.0, 20.0]]),
    np.array([[10.0, 0.0], [0.0, 20.0]]),
    np.array([[14.0, -8.0], [18.0, -8.0], [14.0, 0.0], [18.0, 0.0]]),
]


@pytest.mark.parametrize("multiple", [1, 16, 32])
def test_the_image_is_ink_on_paper_padded_to_the_right_and_below(multiple: int) -> None:
    parameters = {"multiple": multiple, "max_pixels": 1 << 16}
    rendered = render_ink(STROKES)
    image = prepare_image(STROKES, Preprocessing("normalised-ink", parameters))
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    assert image.shape[:2] == (1, 1)
    assert all(
        0 <= padded - side < multiple
        for padded, side in zip(image.shape[2:], rendered.shape, strict=True)
    )
    assert not any(side % multiple for side in image.shape[2:])
    height, width = rendered.shape
    np.testing.assert_allclose(image[0, 0, :height, :width] * 255, rendered, atol=1e-3)
    assert image[0, 0, height:].sum() == image[0, 0, :, width:].sum() == 0
    assert image.max() == 1


def test_the_limit_counts_the_padding() -> None:
    height, width = render_ink(STROKES).shape
    exact = Preprocessing("normalised-ink", {"multiple": 1, "max_pixels": height * width})
    assert prepare_image(STROKES, exact).shape == (1, 1, height, width)
    padded = Preprocessing("normalised-ink", {"multiple": 64, "max_pixels": height * width})
    with pytest.raises(InputError, match=r"the ink: .* at most \d+ pixels"):
        prepare_image(STROKES, padded)


def test_a_bundle_says_how_large_it_sees_a_formula() -> None:
    parameters = {"multiple": 1, "max_pixels": 1 << 16}
    assert rendering_of(Preprocessing("normalised-ink", parameters)) == Rendering()
    large = Preprocessing("normalised-ink", {**parameters, "symbol_px": 28, "pen_px": 3.0})
    assert rendering_of(large) == CANONICAL
    wanted = render_ink(STROKES, CANONICAL)
    assert wanted.shape > render_ink(STROKES).shape
    np.testing.assert_allclose(prepare_image(STROKES, large)[0, 0] * 255, wanted, atol=1e-3)
    # of a drawing the strokes that cross are one part, which makes it a little larger
    picture = np.pad(255 - render_ink(STROKES, Rendering(60.0, 6.0)), 20, constant_values=255)
    found = prepare_image(picture, large)[0, 0]
    assert np.abs(np.subtract(found.shape, wanted.shape)).max() <= 0.15 * max(wanted.shape)


def test_another_margin_is_of_another_version() -> None:
    parameters = {"multiple": 1, "max_pixels": 1 << 16}
    rendering_of(Preprocessing("normalised-ink", {**parameters, "margin_px": 8}))
    with pytest.raises(BundleError, match=r"margin_px: expected 8, found 20.*upgrade"):
        rendering_of(Preprocessing("normalised-ink", {**parameters, "margin_px": 20}))


def test_ink_has_a_trail_for_those_who_see_it_and_an_image_a_blank_one() -> None:
    parameters = {"multiple": 16, "max_pixels": 1 << 16}
    plain = prepare_image(STROKES, Preprocessing("normalised-ink", parameters))
    seeing = Preprocessing("normalised-ink-and-trail", parameters)
    assert rendering_of(seeing) == Rendering(trail=True)
    image = prepare_image(STROKES, seeing)
    assert image.shape == (1, 4, *plain.shape[2:])
    np.testing.assert_array_equal(image[:, :1], plain)
    assert all(channel.any() for channel in image[0])
    assert image.max() == 1
    picture = np.pad(255 - render_ink(STROKES), 20, constant_values=255)
    found = prepare_image(picture, seeing)
    assert found.shape[1] == 4
    assert found[0, 0].any()
    assert not found[0, 1:].any()


@pytest.mark.parametrize("value", [0, -1.0, 300, 10**400, float("nan"), "16", True, None])
def test_a_scale_of_no_use_is_refused(value: object) -> None:
    parameters = {"multiple": 1, "max_pixels": 1 << 16, "symbol_px": value}
    with pytest.raises(BundleError, match=r"symbol_px.*export the bundle again"):
        rendering_of(Preprocessing("normalised-ink", parameters))
