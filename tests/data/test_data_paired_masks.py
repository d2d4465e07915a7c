"""Masks that belong to one image each: paired by name, cropped as it is."""

import numpy as np
import pytest
from PIL import Image

from jaxgrow.data import pyramid
from jaxgrow.data.sources import ImageFolder
from jaxgrow.errors import UserError


OPTIONS = {"crops_per_image": 3, "min_crop": 0.5, "seed": 0}


class TestPairedMasks:
    @pytest.fixture
    def pairs(self, tmp_path):
        """Images whose white part is exactly their mask's hole, and the masks."""
        for i in range(4):
            mask = np.zeros((32, 48), bool)
            mask[4 * i : 4 * i + 12, 8:28] = True
            for folder, pixels in (
                ("images", mask[..., None].repeat(3, 2)),
                ("masks", mask),
            ):
                file = tmp_path / folder / "deep" / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8) * 255).save(file)
        return ImageFolder(tmp_path / "images"), tmp_path / "masks"

    def test_masks_are_cut_like_their_images(self, pairs, tmp_path):
        source, folder = pairs
        options = OPTIONS | {"crops_per_image": 20, "cache_dir": tmp_path / "cache"}
        images = pyramid.load_pyramid(source, (4, 8, 16), **options)
        masks = pyramid.load_mask_pyramid(source, folder, (4, 8, 16), **options)
        assert masks.names == images.names
        for side in (4, 8, 16):
            assert masks.images[side].shape == (80, side, side, 1)
            assert set(np.unique(masks.images[side])) == {0, 1}
            holes = masks.images[side].sum(axis=(1, 2, 3))
            assert (holes >= 1).all()
            assert (holes < side**2).all()
            white = images.images[side][..., :1] / 255
            np.testing.assert_allclose(
                holes, np.clip(white.sum(axis=(1, 2, 3)), 1, side**2 - 1), atol=0.6
            )
            agree = (masks.images[side] == (white >= 0.5)).mean()
            assert agree > 0.95

    def test_masks_are_cached_and_follow_their_files(self, pairs, tmp_path):
        source, folder = pairs
        options = OPTIONS | {"cache_dir": tmp_path / "cache"}
        first = pyramid.load_mask_pyramid(source, folder, (8,), **options)
        pyramid.load_mask_pyramid(source, folder, (8,), **options)
        assert len(list((tmp_path / "cache").iterdir())) == 1
        for i in range(4):
            file = folder / "deep" / f"{i}.png"
            Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
        inverse = pyramid.load_mask_pyramid(source, folder, (8,), **options)
        assert len(list((tmp_path / "cache").iterdir())) == 2
        assert (first.images[8][::3] != inverse.images[8][::3]).mean() > 0.9

    def test_images_without_a_mask_are_named(self, pairs):
        source, folder = pairs
        (folder / "deep" / "1.png").rename(folder / "deep" / "one.png")
        with pytest.raises(UserError, match=r"1 of 4 images .* \(deep/1\.png\)"):
            pyramid.load_mask_pyramid(source, folder, (8,), **OPTIONS)

    def test_another_image_type_is_a_partner_but_two_masks_are_not(self, pairs):
        source, folder = pairs
        one = folder / "deep" / "1.png"
        Image.open(one).save(one.with_suffix(".bmp"))
        with pytest.raises(UserError, match=r"deep/1\.bmp and deep/1\.png"):
            pyramid.pair_masks(source.names, folder)
        one.unlink()
        assert pyramid.pair_masks(source.names, folder)[1] == "deep/1.bmp"

    def test_a_mask_of_another_size_is_refused(self, pairs, tmp_path):
        source, folder = pairs
        Image.new("L", (30, 20), 255).save(folder / "deep" / "2.png")
        with pytest.raises(
            UserError, match=r"30x20 pixels but image deep/2\.png has 48x32"
        ):
            pyramid.load_mask_pyramid(
                source, folder, (8,), **OPTIONS, cache_dir=tmp_path / "cache"
            )

    @pytest.mark.parametrize(
        ("grey", "message"), [(0, "no hole"), (255, "nothing but hole")]
    )
    def test_masks_without_hole_or_known_part_are_refused(
        self, pairs, tmp_path, grey, message
    ):
        source, folder = pairs
        Image.new("L", (48, 32), grey).save(folder / "deep" / "2.png")
        with pytest.raises(UserError, match=message):
            pyramid.load_mask_pyramid(
                source, folder, (8,), **OPTIONS, cache_dir=tmp_path / "cache"
            )
