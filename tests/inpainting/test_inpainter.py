import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from jaxgrow.errors import UserError
from jaxgrow.inpainting import saved_models
from jaxgrow.inpainting.inpainter import Inpainter
from jaxgrow.nets import growing
from jaxgrow.nets.growing import Generator, generator_input
from tests.support.generators import random_generator, write_generator


RESOLUTION = 8


@pytest.fixture(scope="module")
def inpainter():
    return Inpainter(random_generator(RESOLUTION))


def pictures(sizes, seed=0):
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    return images, [hole(*size, seed=i) for i, size in enumerate(sizes)]


def hole(height, width, seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    top, left = rng.integers(0, (height // 2 + 1, width // 2 + 1))
    mask[top : top + height // 2 + 1, left : left + width // 3 + 1] = True
    mask[-1, -1] = False
    mask[0, 0] |= not mask.any()
    return mask


@pytest.mark.filterwarnings("ignore:mask 0 is:UserWarning")
@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    density=st.floats(0.01, 0.95),
    seed=st.integers(0, 99),
)
def test_known_pixels_stay_bit_for_bit_and_hole_pixels_are_never_read(
    inpainter, size, density, seed
):
    rng = np.random.default_rng(seed)
    mask = rng.random(size) < density
    mask[tuple(rng.integers(0, size))] = False
    mask[0, 0] |= not mask.any()
    if mask.all():
        mask[-1, -1] = False
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    filled = inpainter(image, mask)
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled[~mask], image[~mask])
    other = np.where(mask[..., None], 255 - image, image)
    np.testing.assert_array_equal(inpainter(other, mask), filled)


def test_a_picture_of_the_resolution_gets_the_composite_of_the_network():
    saved = random_generator(RESOLUTION, seed=3)
    (image,), (mask,) = pictures([(RESOLUTION, RESOLUTION)])
    x = jnp.asarray(image[None], jnp.float32) / 127.5 - 1.0
    holes = jnp.asarray(mask[None, ..., None], jnp.float32)
    net = Generator(saved.config, RESOLUTION)
    apply = jax.jit(lambda x: growing.apply(net, saved.params, saved.stats, x)[0])
    output = apply(generator_input(x, holes))
    output = np.rint((np.clip(np.asarray(output)[0], -1, 1) + 1.0) * 127.5)
    wanted = np.where(mask[..., None], output, image).astype(np.uint8)
    np.testing.assert_array_equal(Inpainter(saved)(image, mask), wanted)
    assert (wanted != image).any()


def test_a_result_does_not_depend_on_the_batch_around_it(inpainter):
    images, masks = pictures([(24, 24)] * 11)
    together = inpainter(np.stack(images), np.stack(masks))
    assert together.shape == (11, 24, 24, 3)
    backwards = inpainter(np.stack(images[::-1]), np.stack(masks[::-1]))
    np.testing.assert_array_equal(backwards[::-1], together)
    for image, mask, filled in zip(images, masks, together, strict=True):
        np.testing.assert_array_equal(inpainter(image, mask), filled)


def test_pictures_of_any_sizes_go_together_in_a_list(inpainter):
    sizes = [(8, 8), (5, 3), (2, 1), (1, 9), (8, 60), (60, 8), (33, 47), (7, 100)]
    images, masks = pictures(sizes)
    filled = inpainter(images, masks)
    assert isinstance(filled, list)
    for image, mask, result in zip(images, masks, filled, strict=True):
        assert result.shape == image.shape
        np.testing.assert_array_equal(result, inpainter(image, mask))
        np.testing.assert_array_equal(result[~mask], image[~mask])
    assert any((a != b).any() for a, b in zip(images, filled, strict=True))


def test_inputs_are_left_as_they_were(inpainter):
    (image,), (mask,) = pictures([(20, 20)])
    image_before, mask_before = image.copy(), mask.copy()
    inpainter(image, mask)
    np.testing.assert_array_equal(image, image_before)
    np.testing.assert_array_equal(mask, mask_before)


def test_no_picture_gives_no_picture(inpainter):
    assert inpainter([], []) == []
    empty = np.zeros((0, 9, 9, 3), np.uint8)
    assert inpainter(empty, np.zeros((0, 9, 9), bool)).shape == empty.shape


@pytest.mark.parametrize(
    "spell",
    [
        lambda m: m.astype(np.uint8),
        lambda m: 255 * m.astype(np.uint8),
        lambda m: m.astype(np.int64),
        lambda m: m.astype(np.float32),
        lambda m: m[..., None],
    ],
)
def test_a_mask_may_be_spelt_in_many_ways(inpainter, spell):
    (image,), (mask,) = pictures([(20, 20)])
    wanted = inpainter(image, mask)
    np.testing.assert_array_equal(inpainter([image], [spell(mask)])[0], wanted)


def test_a_mask_of_grey_values_is_split_at_the_middle_with_a_warning(inpainter):
    (image,), (mask,) = pictures([(20, 20)])
    wanted = inpainter(image, mask)
    for low, high, scale in [(127, 128, np.uint8), (0.49, 0.5, np.float32)]:
        grey = np.where(mask, high, low).astype(scale)
        with pytest.warns(UserWarning, match="mask 0 is not binary"):
            np.testing.assert_array_equal(inpainter(image, grey), wanted)


def test_a_picture_without_a_hole_comes_back_with_a_warning(inpainter):
    images, masks = pictures([(20, 20), (20, 20)])
    masks[1] = np.zeros((20, 20), bool)
    with pytest.warns(UserWarning, match="mask 1 has no hole"):
        filled = inpainter(images, masks)
    np.testing.assert_array_equal(filled[1], images[1])
    assert (filled[0] != images[0]).any()


def ones(*shape):
    return np.ones(shape, np.uint8)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (ones(2, 4, 4, 3), ones(3, 4, 4), "2 images and 3 masks"),
        ([ones(4, 4, 3)], [ones(4, 5)], "mask 0 has 5x4 pixels and its image 4x4"),
        (ones(1, 4, 4, 3), ones(1, 4, 4), "mask 0 is all hole"),
        (ones(4, 4, 3), ones(4, 4) > 0, "mask 0 is all hole"),
        (np.ones((4, 4, 3)), ones(4, 4), "image 0 must hold 8-bit pixels, not float64"),
        (
            ones(2, 4, 4),
            ones(2, 4, 4),
            r"images has the shape \(2, 4, 4\): give one picture",
        ),
        (ones(1, 4, 4, 4), ones(1, 4, 4), r"image 0 has the shape \(4, 4, 4\)"),
        ([ones(0, 4, 3)], [ones(0, 4)], r"image 0 has the shape \(0, 4, 3\)"),
        (ones(1, 4, 4, 3), ones(1, 4, 4, 3), r"mask 0 has the shape \(4, 4, 3\)"),
        (ones(4, 4, 3), np.full((4, 4), 2.0), "mask 0 has values from 2.0 to 2.0"),
        (ones(4, 4, 3), np.full((4, 4), np.nan), "values from nan to nan"),
        (ones(4, 4, 3), np.full((4, 4), -1), "values from -1 to -1"),
        (ones(4, 4, 3), np.full((4, 4), 256), "values from 256 to 256"),
        (ones(4, 4, 3), np.full((4, 4), "x"), "mask 0 is a ndarray without numbers"),
    ],
)
def test_what_cannot_be_filled_is_named_in_one_sentence(
    inpainter, images, masks, message
):
    with pytest.raises(UserError, match=message):
        inpainter(images, masks)


def test_weights_are_loaded_from_a_file_a_run_or_the_package(tmp_path, monkeypatch):
    run = tmp_path / "run"
    for resolution in (4, RESOLUTION):
        path = run / "weights" / saved_models.file_name(resolution)
        write_generator(path, resolution, info={"note": resolution})
    monkeypatch.setattr(saved_models, "SHIPPED", run / "weights")
    monkeypatch.setattr(saved_models, "_SHIPPED_RESOLUTION", RESOLUTION)
    file = run / "weights" / saved_models.file_name(RESOLUTION)
    for source in (None, run, str(run), file):
        inpainter = Inpainter.load(source)
        assert inpainter.resolution == RESOLUTION
        assert inpainter.info == {"note": RESOLUTION}
    images, masks = pictures([(20, 20)])
    wanted = Inpainter(random_generator(RESOLUTION))(images, masks)[0]
    np.testing.assert_array_equal(Inpainter.load(file)(images, masks)[0], wanted)
    assert Inpainter.load(run, 4).resolution == 4
    with pytest.raises(UserError, match="holds weights for 8 px, not 4"):
        Inpainter.load(file, 4)


def test_a_mask_that_looks_inverted_is_warned_of(inpainter):
    (image,), (mask,) = pictures([(20, 20)])
    with pytest.warns(UserWarning, match=r"mask 0 is \d+% hole: it looks inverted"):
        inpainter(image, ~mask)


@pytest.mark.parametrize(
    ("give_image", "give_mask"),
    [
        (Image.fromarray, Image.fromarray),
        (jnp.asarray, jnp.asarray),
        (np.asfortranarray, lambda m: m[::-1][::-1]),
        (lambda x: [Image.fromarray(x)], lambda m: [m.tolist()]),
        (lambda x: iter([x]), lambda m: iter([m])),
        (lambda x: jnp.asarray(x[None]), lambda m: 255 * jnp.asarray(m[None], "uint8")),
    ],
)
def test_pictures_of_other_libraries_give_the_same(inpainter, give_image, give_mask):
    (image,), (mask,) = pictures([(20, 20)])
    found = inpainter(give_image(image), give_mask(mask))
    np.testing.assert_array_equal(np.squeeze(found), inpainter(image, mask))


def test_grey_stays_grey_in_its_own_shape(inpainter):
    (image,), (mask,) = pictures([(20, 20)])
    grey = image[..., 0]
    found = inpainter(grey, mask)
    assert found.shape == grey.shape
    np.testing.assert_array_equal(found[~mask], grey[~mask])
    coloured = inpainter(np.stack([grey] * 3, axis=-1), mask)
    luma = np.asarray(Image.fromarray(coloured).convert("L"))
    np.testing.assert_array_equal(found, luma)
    np.testing.assert_array_equal(inpainter(grey[..., None], mask)[..., 0], found)


def test_a_pickled_inpainter_is_the_same(inpainter):
    images, masks = pictures([(20, 20)])
    again = pickle.loads(pickle.dumps(inpainter))
    np.testing.assert_array_equal(again(images, masks), inpainter(images, masks))


def test_a_call_under_a_transformation_says_so_and_harms_nothing():
    (image,), (mask,) = pictures([(20, 20)])
    saved = random_generator(RESOLUTION)
    wanted = Inpainter(saved)(image, mask)
    made = []

    def misuse(x):
        made.append(Inpainter(saved))
        return made[0](x, mask)

    with pytest.raises(UserError, match=r"image.* cannot read .*outside of JAX's"):
        jax.eval_shape(misuse, image)
    np.testing.assert_array_equal(made[0](image, mask), wanted)


def test_settings_of_the_caller_change_nothing(inpainter):
    (image,), (mask,) = pictures([(20, 20)])
    wanted = inpainter(image, mask)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        np.testing.assert_array_equal(
            Inpainter(random_generator(RESOLUTION))(image, mask), wanted
        )
        assert jax.config.jax_enable_x64
