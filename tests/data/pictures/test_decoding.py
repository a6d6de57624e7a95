"""Pictures as people have them: each is read as it is meant, or refused by name."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from mu_monai.data.pictures.decoding import Look, bit_range, look_at_image, read_image, read_mask, seen_mask
from mu_monai.errors import InputError

ORIENTATION = 0x0112
TURNS = {  # how a picture lies in its file when EXIF has this number
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
COLORS = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
GRAY = COLORS[..., 0]
MASK = np.zeros((12, 20), np.uint8)
MASK[2:6, 3:9] = 1


def stored(picture, path, orientation):
    """A picture that lies turned in its file, with the EXIF tag that says so."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture.transpose(TURNS[orientation]).save(path, exif=exif)
    return str(path)


def indexed(values, palette, path):
    picture = Image.fromarray(values).convert("P")
    picture.putdata(values.ravel().tolist())
    picture.putpalette(palette)
    picture.save(path)
    return str(path)


def saved(array, path, mode=None, **options):
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return str(path)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", ["png", "tif", "tiff"])
def test_images_and_masks_are_turned_upright_each_by_its_own_tag(orientation, suffix, tmp_path):
    image = stored(Image.fromarray(COLORS), tmp_path / f"x.{suffix}", orientation)
    mask = stored(Image.fromarray(MASK * 255), tmp_path / "m.png", orientation)
    assert (read_image(image) == COLORS).all()
    assert look_at_image(image).size == (12, 20)
    assert look_at_image(image).traits == ("rotated",)
    assert (read_mask(mask) == MASK * 255).all()
    assert seen_mask(mask)[1] == ("rotated",)


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense"])
def test_damaged_exif_turns_nothing(exif, tmp_path):
    path = saved(COLORS, tmp_path / "x.jpg", exif=exif, quality=100, subsampling=0)
    assert read_image(path).shape == (12, 20, 3)


@pytest.mark.parametrize(
    ("palette", "values"),
    [
        ([0, 0, 160, 200, 0, 0], [0, 1]),  # a colored background
        ([255, 255, 0, 0, 0, 255], [0, 1]),
        ([0, 0, 0, 128, 0, 0], [0, 1]),  # Pascal VOC
        ([0, 0, 0, 255, 255, 255], [0, 1]),
        ([v for k in range(256) for v in (k, k, k)], [0, 255]),
    ],
)
def test_the_indexes_of_a_palette_count_and_not_its_colors(palette, values, tmp_path):
    path = indexed(MASK * values[1], palette, tmp_path / "m.png")
    read, traits = seen_mask(path)
    assert np.unique(read).tolist() == values
    assert (read == MASK * values[1]).all()
    assert traits == ("indexed",)


@pytest.mark.parametrize("light", [(255, 0), (255, 1), (130, 60)])
def test_a_palette_of_grays_against_its_indexes_is_refused(light, tmp_path):
    path = indexed(MASK, [light[0]] * 3 + [light[1]] * 3, tmp_path / "m.png")
    with pytest.raises(InputError, match=r"m\.png' has a palette in which index 0 is lighter than index 1"):
        read_mask(path)


@pytest.mark.parametrize("palette", [[0, 0, 160, 200, 0, 0], [255, 255, 255, 0, 0, 0], [9, 8, 7, 6, 5, 4]])
def test_the_colors_of_a_palette_count_in_an_image(palette, tmp_path):
    path = indexed(MASK, palette, tmp_path / "x.png")
    assert (read_image(path) == np.array(palette, np.uint8).reshape(2, 3)[MASK]).all()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_one_bit_is_black_and_white(suffix, tmp_path):
    path = saved(MASK * 255, tmp_path / f"m.{suffix}", mode="1")
    assert (read_image(path) == MASK[..., None] * 255).all()
    assert (read_mask(path) == MASK).all()


DEEP = {
    "16 bits png": (lambda x: x.astype(np.uint16), "x.png"),
    "16 bits tiff": (lambda x: x.astype(np.uint16), "x.tif"),
    "32 bits": (lambda x: x.astype(np.int32), "x.tif"),
    "decimal": (lambda x: x.astype(np.float32), "x.tif"),
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("white", [4095, 16383, 65535])
def test_more_than_8_bits_are_scaled_from_the_range(kind, white, tmp_path):
    change, name = DEEP[kind]
    values = np.linspace(0, white, 240).reshape(12, 20).round()
    path = saved(change(values), tmp_path / name)
    assert look_at_image(path).extremes == (0, white)
    assert bit_range([look_at_image(path)]) == (0, white)
    image = read_image(path, [0, white])
    assert np.abs(image - values[..., None] / white * 255).max() < 1e-4
    assert image.max() == 255
    with pytest.raises(InputError, match=r"x\..*' has more than 8 bits per pixel .* which values are black and white"):
        read_image(path)
    with pytest.raises(InputError, match=r"beyond the range \[0, 255\]"):
        read_image(path, [0, 255])


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (300, 4095, True, (0, 4095)),
        (0, 1000, True, (0, 1023)),
        (0, 65535, True, (0, 65535)),
        (0, 1, True, (0, 255)),
        (7, 200, True, (0, 255)),
        (-1000, 3000, True, (-1024, 4095)),
        (0.0, 0.9, False, (0, 1)),
        (-0.7, 0.9, False, (-1, 1)),
        (0.5, 700.5, False, (0, 1024)),
        (-5, -2, False, (-8, 1)),
    ],
)
def test_the_range_is_that_of_the_bits_in_use(low, high, whole, expected):
    assert bit_range([Look((2, 2)), Look((2, 2), extremes=(low, high), whole=whole)]) == expected
    assert bit_range([Look((2, 2))]) is None


@pytest.mark.parametrize("share", [[0, 1], [0, 0.25, 1], [0.1, 0.9]])
def test_decimals_up_to_1_are_shares_of_white(share, tmp_path):
    values = np.resize(np.array(share, np.float32), (12, 20))
    path = saved(values, tmp_path / "x.tif")
    assert bit_range([look_at_image(path)]) == (0, 1)
    assert np.abs(read_image(path, [0, 1])[..., 0] - values * 255).max() < 1e-4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_an_opaque_alpha_is_dropped(mode, tmp_path):
    picture = Image.fromarray(GRAY).convert("LA" if mode == "PA" else mode)
    picture.save(tmp_path / "x.png")
    assert (read_image(str(tmp_path / "x.png")) == GRAY[..., None]).all()


def see_through(mode, path):
    picture = Image.fromarray(COLORS).convert(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(Image.fromarray(255 - MASK))
        picture.save(path)
    else:
        picture.save(path, transparency=picture.getpixel((0, 0)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "P"])
def test_what_is_partly_transparent_is_refused(mode, tmp_path):
    see_through(mode, tmp_path / "x.png")
    with pytest.raises(InputError, match=r"x\.png' is partly transparent"):
        read_image(str(tmp_path / "x.png"))


@pytest.mark.parametrize("suffix", ["jpg", "tif", "jpeg"])
def test_cmyk_is_converted_and_told(suffix, tmp_path):
    picture = Image.fromarray(COLORS).convert("CMYK")
    picture.save(tmp_path / f"x.{suffix}")
    look = look_at_image(str(tmp_path / f"x.{suffix}"))
    assert look.traits == ("converted",)
    assert read_image(str(tmp_path / f"x.{suffix}")).shape == (12, 20, 3)


@pytest.mark.parametrize("suffix", ["tif", "png", "gif"])
def test_several_pages_are_refused(suffix, tmp_path):
    pages = [Image.fromarray(GRAY // n) for n in (1, 2, 3)]
    pages[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=pages[1:])
    for read in (read_image, read_mask):
        with pytest.raises(InputError, match=r"x\..*' has 3 pages, of which only one would be read"):
            read(str(tmp_path / f"x.{suffix}"))


def test_the_photograph_of_a_telephone_may_have_a_preview(tmp_path):
    photograph, preview = Image.fromarray(COLORS), Image.fromarray(GRAY)
    photograph.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[preview])
    assert read_image(str(tmp_path / "x.jpg")).shape == (12, 20, 3)


@pytest.mark.parametrize(("description", "told"), [("sRGB", False), ("Display P3", True), ("scanner", True)])
def test_a_profile_that_is_not_the_usual_one_is_told(description, told, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = profile.replace("sRGB".encode("utf-16-be"), "oRGB".encode("utf-16-be")).replace(b"sRGB", b"oRGB")
    path = saved(COLORS, tmp_path / "x.png", icc_profile=other if told else profile)
    assert look_at_image(path).traits == ("profile",) * told
    assert (read_image(path) == COLORS).all()


def rgb_16(path, samples):
    """A 16-bit color picture, which Pillow cannot write."""
    values = np.full((4, 5, samples), 4095, ">u2")
    color = {2: 4, 3: 2, 4: 6}[samples]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.tobytes() for row in values)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, color, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_16_bits_per_color_are_refused_since_half_of_them_would_be_lost(samples, tmp_path):
    rgb_16(tmp_path / "x.png", samples)
    with pytest.raises(InputError, match=r"x\.png' has 16 bits per color, of which only 8 would be read"):
        read_image(str(tmp_path / "x.png"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_numbers_are_refused(value, tmp_path):
    values = np.ones((12, 20), np.float32)
    values[3, 3] = value
    with pytest.raises(InputError, match=r"x\.tif' has pixels that are NaN or infinite"):
        look_at_image(saved(values, tmp_path / "x.tif"))


@pytest.mark.parametrize("read", [read_image, look_at_image, read_mask])
def test_other_colors_are_refused(read, tmp_path):
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(Image.fromarray(COLORS), to_lab).save(tmp_path / "x.tif")
    with pytest.raises(InputError, match=r"x\.tif' has (the colors 'LAB'; save it as gray or RGB|3 channels)"):
        read(str(tmp_path / "x.tif"))


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("high", [1, 255])
def test_masks_of_any_depth_keep_their_values(bits, high, tmp_path):
    mask = (MASK * high).astype(np.uint16 if bits == 16 else np.uint8)
    assert (read_mask(saved(mask, tmp_path / "m.png")) == MASK.astype(int) * high).all()
