"""A DICOM film becomes exactly the image that training used, or one clear PixelError."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PilImage
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from engine.errors import BundleIncompatible, PixelError
from engine.pixels import Transform, render, render_file, render_grey, to_uint8

SHARED = Path(__file__).parents[3] / "shared" / "data"
SQUASH = Transform()
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")


def ramp(rows: int = 48, columns: int = 40, top: int = 4095) -> np.ndarray:
    """Return a film without symmetry: a ramp with one bright block."""
    y, x = np.mgrid[:rows, :columns]
    film = (y * columns + 2 * x) / ((rows + 2) * columns)
    film[rows // 4 : rows // 2, columns // 8 : columns // 4] = 0.9
    return np.rint(film * top).astype(np.uint16)


def dataset(pixels: np.ndarray, bits: int = 12, **attributes: object) -> Dataset:
    """Return a CR image with these stored values."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = ComputedRadiographyImageStorage, "2.25.1"
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = 8 if bits <= 8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    ds["PixelData"] = _pixel_element(pixels.astype("u1" if bits <= 8 else "<u2").tobytes())
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def _pixel_element(raw: bytes):
    ds = Dataset()
    ds.add_new("PixelData", "OW", raw)
    return ds["PixelData"]


def grey(ds: Dataset, transform: Transform = SQUASH) -> np.ndarray:
    return to_uint8(render(ds, transform)).astype(int)


def lut(values: np.ndarray, first: int = 0) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [values.size, first, 16])
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return item


def test_an_image_is_256_square_float32_and_spans_the_whole_range():
    image = render(dataset(ramp()), SQUASH)
    assert (image.shape, image.dtype) == ((1, 256, 256), np.float32)
    assert (image.min(), image.max()) == (-1.0, 1.0)


def test_monochrome1_and_its_complement_are_the_same_film():
    film = ramp()
    inverted = dataset(4095 - film, PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(grey(dataset(film)), grey(inverted))


@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY", None])
def test_monochrome1_with_any_presentation_lut_shape_is_inverted_once(shape):
    film = dataset(4095 - ramp(), PhotometricInterpretation="MONOCHROME1")
    if shape:
        film.PresentationLUTShape = shape
    assert np.array_equal(grey(film), grey(dataset(ramp())))


def test_presentation_lut_shape_inverse_alone_inverts():
    film = dataset(4095 - ramp(), PresentationLUTShape="INVERSE")
    assert np.array_equal(grey(film), grey(dataset(ramp())))


@settings(max_examples=25, deadline=None)
@given(bits=st.integers(9, 16), seed=st.integers(0, 2**32 - 1))
def test_bit_depth_does_not_change_the_film(bits, seed):
    film = np.random.default_rng(seed).integers(0, 256, (40, 32)).astype(np.uint16)
    deep = film << (bits - 8)
    assert np.abs(grey(dataset(film, 8)) - grey(dataset(deep, bits))).max() <= 1


@settings(max_examples=25, deadline=None)
@given(bits=st.integers(8, 16), seed=st.integers(0, 2**32 - 1))
def test_inversion_holds_at_every_bit_depth(bits, seed):
    top = 2**bits - 1
    film = np.random.default_rng(seed).integers(0, top + 1, (24, 40)).astype(np.uint16)
    inverted = dataset(top - film, bits, PhotometricInterpretation="MONOCHROME1")
    assert np.abs(grey(dataset(film, bits)) - grey(inverted)).max() <= 1


@settings(max_examples=25, deadline=None)
@given(
    slope=st.floats(0.01, 50),
    intercept=st.floats(-5000, 5000),
    centre=st.floats(0, 4095),
    width=st.floats(2, 4095),
)
def test_a_rescale_and_a_linear_window_change_nothing(slope, intercept, centre, width):
    film = dataset(ramp(), RescaleSlope=f"{slope:.6g}", RescaleIntercept=f"{intercept:.6g}")
    film.WindowCenter, film.WindowWidth = f"{centre:.6g}", f"{width:.6g}"
    assert np.abs(grey(film) - grey(dataset(ramp()))).max() <= 1


@settings(max_examples=25, deadline=None)
@given(centre=st.integers(500, 3500), width=st.integers(500, 4095))
def test_a_sigmoid_window_keeps_the_order_of_grey_values(centre, width):
    film = np.arange(4096, dtype=np.uint16).repeat(16).reshape(256, 256)
    ds = dataset(film, VOILUTFunction="SIGMOID", WindowCenter=centre, WindowWidth=width)
    shown = grey(ds)[:, ::8].ravel()
    assert (np.diff(shown) >= -1).all()
    assert shown[-1] > shown[0]


def test_a_negative_slope_turns_the_film_over():
    film = dataset(ramp(), RescaleSlope="-1", RescaleIntercept="4095")
    assert np.abs(grey(film) - (255 - grey(dataset(ramp())))).max() <= 1


def test_signed_values_are_read_as_signed():
    signed = (ramp().astype(np.int32) - 2048).astype(np.int16)
    ds = dataset(signed.view(np.uint16) & 0x0FFF, PixelRepresentation=1)
    assert np.array_equal(grey(ds), grey(dataset(ramp())))


def test_overlay_bits_above_and_below_the_stored_bits_are_ignored():
    film, noise = ramp(top=1023), np.random.default_rng(0).integers(0, 2, (48, 40))
    above = dataset(film | (noise << 15), 10)
    below = dataset((film << 2) | noise | (noise << 13), 10, HighBit=11)
    assert np.array_equal(grey(above), grey(dataset(film, 10)))
    assert np.array_equal(grey(below), grey(dataset(film, 10)))


def test_padding_is_black_and_does_not_move_the_percentiles():
    film = ramp() // 2
    padded = np.pad(film, ((0, 0), (20, 20)), constant_values=4000)
    ds = dataset(padded)
    ds.add_new("PixelPaddingValue", "US", 4000)
    shown = grey(ds)
    assert shown[:, 0].max() == 0
    assert abs(shown[:, 100:156].mean() - grey(dataset(film))[:, 30:226].mean()) < 25


def test_a_padding_range_is_padding_from_end_to_end():
    padded = np.pad(ramp() // 2, ((0, 0), (20, 20)), constant_values=3950)
    ds = dataset(padded)
    ds.add_new("PixelPaddingValue", "US", 4000)
    ds.add_new("PixelPaddingRangeLimit", "US", 3900)
    assert grey(ds)[:, 0].max() == 0


def test_a_voi_lut_shapes_the_curve():
    film, curve = ramp(), np.sqrt(np.arange(4096) / 4095) * 65535
    ds = dataset(film, VOILUTSequence=[lut(curve)])
    shaped = dataset(np.rint(curve[film]).astype(np.uint16), 16)
    assert np.abs(grey(ds) - grey(shaped)).max() <= 2


def test_a_modality_lut_is_applied_before_the_voi_lut():
    turned = lut(np.arange(4095, -1, -1))
    ds = dataset(ramp(), ModalityLUTSequence=[turned], VOILUTSequence=[turned])
    assert np.array_equal(grey(ds), grey(dataset(ramp())))


def test_a_lut_shorter_than_it_says_is_refused():
    item = lut(np.arange(4096))
    item.LUTData = item.LUTData[:100]
    with pytest.raises(PixelError, match="shorter than its descriptor"):
        render(dataset(ramp(), VOILUTSequence=[item]), SQUASH)


def test_pad_keeps_the_aspect_and_adds_black():
    shown = grey(dataset(np.full((20, 40), 9) + ramp(20, 40)), Transform(resize="pad"))
    assert shown[:60].max() == shown[-60:].max() == 0
    assert shown[70:186].mean() > 20


def test_non_square_pixels_are_made_square_before_a_pad():
    tall = dataset(ramp(20, 40), PixelSpacing=["0.4", "0.2"])
    assert grey(tall, Transform(resize="pad"))[10].max() > 0


def test_the_shape_of_a_pixel_does_not_matter_to_a_squash():
    tall = dataset(ramp(), PixelAspectRatio=["2", "1"])
    assert np.array_equal(grey(tall), grey(dataset(ramp())))


def test_a_centre_crop_drops_the_ends_of_the_longer_side():
    film = ramp(40, 40)
    long = np.pad(film, ((0, 0), (15, 15)))
    cropped = render(dataset(long), Transform(resize="centre_crop", clip_percentile=0))
    whole = render(dataset(film), Transform(resize="centre_crop", clip_percentile=0))
    assert np.abs(cropped - whole)[..., 8:-8].mean() < 0.02


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression_changes_nothing(syntax):
    ds = dataset(ramp())
    ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(grey(ds), grey(dataset(ramp())))


@pytest.mark.parametrize("implicit", [True, False])
def test_a_headless_stream_renders_like_the_file(tmp_path, implicit):
    ds = dataset(ramp())
    del ds.file_meta
    stream = io.BytesIO()
    ds.save_as(stream, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    path = tmp_path / "headless"
    path.write_bytes(stream.getvalue())
    assert np.array_equal(to_uint8(render_file(path, SQUASH)), grey(dataset(ramp())))


def test_a_deflated_file_renders(tmp_path):
    ds = dataset(ramp())
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "deflated.dcm", enforce_file_format=True)
    assert np.array_equal(
        to_uint8(render_file(tmp_path / "deflated.dcm", SQUASH)), grey(dataset(ramp()))
    )


@pytest.mark.parametrize("mode", ["8 bit", "16 bit", "rgb", "jpeg"])
def test_png_and_jpeg_files_render_like_the_dicom(tmp_path, mode):
    film = ramp(256, 256, top=255)
    path = tmp_path / ("film.jpg" if mode == "jpeg" else "film.png")
    pixels = film.astype(np.uint16) * 257 if mode == "16 bit" else film.astype(np.uint8)
    raster = PilImage.fromarray(pixels)
    (raster.convert("RGB") if mode == "rgb" else raster).save(path)
    expected = grey(dataset(film, 8))
    shown = to_uint8(render_file(path, SQUASH)).astype(int)
    assert np.abs(shown - expected).mean() < (2 if mode == "jpeg" else 0.5)


REFUSALS = {
    "no pixel data": {"PixelData": None},
    "2 frames": {"NumberOfFrames": 2},
    "PALETTE COLOR": {"PhotometricInterpretation": "PALETTE COLOR"},
    "not grey": {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3},
    "more than 100,000,000": {"Rows": 50_000, "Columns": 50_000},
    "no rows": {"Rows": 0},
    "cut short": {"Rows": 49},
    "32 of 32 bits": {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
    "high bit": {"HighBit": 3},
    "black is low": {"PhotometricInterpretation": None},
}


@pytest.mark.parametrize("sentence", REFUSALS)
def test_what_cannot_be_a_film_is_refused_in_one_sentence(sentence):
    ds = dataset(ramp())
    for keyword, value in REFUSALS[sentence].items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    with pytest.raises(PixelError, match=sentence) as error:
        render(ds, SQUASH)
    assert "\n" not in str(error.value)


def test_a_blank_film_is_refused():
    with pytest.raises(PixelError, match="no contrast"):
        render(dataset(np.zeros((32, 32), np.uint16)), SQUASH)


def test_a_frame_that_lies_about_its_size_is_not_decoded():
    ds = dataset(ramp())
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    at = ds.PixelData.index(b"\xff\x4f\xff\x51") + 8
    ds.PixelData = ds.PixelData[:at] + b"\x7f\xff\xff\xff" + ds.PixelData[at + 4 :]
    with pytest.raises(PixelError, match="the header says 48 x 40"):
        render(ds, SQUASH)


@settings(max_examples=60, deadline=None)
@given(start=st.binary(max_size=300))
@pytest.mark.filterwarnings("ignore")
def test_arbitrary_bytes_are_refused(tmp_path_factory, start):
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(start)
    with pytest.raises(PixelError):
        render_file(path, SQUASH)


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(PixelError, match=r"cannot open .*: No such file"):
        render_file(tmp_path / "none.dcm", SQUASH)


def test_a_transform_travels_through_json():
    transform = Transform(size=64, resize="pad", equalise=True)
    assert Transform.from_json(json.loads(json.dumps(transform.as_json()))) == transform


@pytest.mark.parametrize("record", [{"resize": "tile"}, {"zoom": 2}, {"clip_percentile": 60}])
def test_an_unknown_transform_is_refused(record):
    with pytest.raises(BundleIncompatible):
        Transform.from_json(record)


OUTCOMES = {
    "ok": (
        "chest_cr_dx/RG1_J2KI.dcm chest_cr_dx/CR-MONO1-10-chest chest_cr_dx/Fake_MONOHR1.dcm "
        "chest_cr_dx/JPEG2KLossless_1s_1f_u_16_16.dcm "
        "chest_cr_dx/1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm "
        "chest_cr_dx/1.3.6.1.4.1.11129.5.5."
        "110503645592756492463169821050252582267888.dcm "
        "charset/chrX1.dcm charset/chrH31.dcm charset/chrArab.dcm charset/chrGB2312.dcm "
        "non_chest_cr/RG2_J2KI non_chest_cr/RG2_J2KR non_chest_cr/RG2_JLSL non_chest_cr/RG2_JPLL "
        "non_chest_cr/RG2_RLE non_chest_cr/RG3_JLSL non_chest_cr/RG3_JLSN non_chest_cr/RG3_JPLL "
        "non_chest_cr/RG3_J2KR.dcm non_chest_cr/RG2_JPLY_fixed.dcm odd/bad_sequence.dcm "
        "odd/J2K_pixelrep_mismatch.dcm odd/JPEG2000.dcm odd/MR_small_expb.dcm "
        "odd/explicit_VR-UN.dcm odd/vlut_04.dcm odd/CT_small.dcm odd/GH1301.dcm odd/GH227.dcm "
        "odd/OutOfBoundsOverlay.dcm odd/KarstenHilbertRF.dcm odd/overlay.dcm "
        "odd/GH177_D_CLUNIE_CT1_IVRLE_BigEndian_ELE_undefinded_length.dcm"
    ),
    "no pixel data": (
        "header_only/CR000000.dcm header_only/Issue56-NoPixelData.dcm "
        "charset_chest/chrJapMulti.dcm charset_chest/chrJapMultiExplicitIR6.dcm "
        "odd/ExplVR_LitEndNoMeta.dcm odd/no_meta.dcm "
        "odd/UN_sequence.dcm odd/reportsi.dcm odd/GH223.dcm odd/2017-06-27-XSSInjection.dcm "
        "odd/sample-pdf.dcm odd/2026-03-16-OD-OF-OL.dcm odd/sr_document.dcm"
    ),
    "cannot be decoded": "chest_cr_dx/966.dcm non_chest_cr/RG2_JPLY non_chest_cr/RG3_JPLY",
    "not grey": (
        "non_chest_cr/jpeg-baseline.dcm odd/ExplVR_BigEnd.dcm odd/OT-PAL-8-face.dcm "
        "odd/SC_rgb_jpeg_dcmtk.dcm odd/1403-OB.dcm odd/UnknownSopClassUid.dcm"
    ),
    "no rows": "odd/meta_missing_tsyntax.dcm",
    "cut short": "odd/MR_truncated.dcm",
    "the header says": "odd/JPEG2000-embedded-sequence-delimiter.dcm",
    "neither DICOM": "odd/emri_small_jpeg_2k_lossless_too_short.dcm",
    "46341 x 46341": "odd/2026-05-26-oob-monochrome-46341.dcm",
    "1 of 1 bits": "odd/seg_image_cr_binary.dcm",
}
EXPECTED = {name: outcome for outcome, names in OUTCOMES.items() for name in names.split()}


@needs_shared
def test_the_table_of_outcomes_names_every_shared_dicom_file():
    lines = (SHARED / "dicom" / "manifest.jsonl").read_text().splitlines()
    assert {json.loads(line)["file"] for line in lines} == set(EXPECTED)


@needs_shared
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_shared_dicom_file_renders_or_says_why_not(name):
    path = SHARED / "dicom" / name
    if EXPECTED[name] == "ok":
        image = render_file(path, SQUASH)
        assert image.shape == (1, 256, 256)
        assert np.isfinite(image).all()
        assert -1 <= image.min() < image.max() <= 1
        return
    with pytest.raises(PixelError, match=EXPECTED[name]):
        render_file(path, SQUASH)


@needs_shared
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["RG2_J2KR", "RG2_JPLL", "RG2_RLE"])
def test_one_film_in_several_lossless_syntaxes_is_one_image(name):
    folder = SHARED / "dicom" / "non_chest_cr"
    reference = render(dcmread(folder / "RG2_JLSL"), SQUASH)
    assert np.array_equal(render(dcmread(folder / name), SQUASH), reference)


@needs_shared
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_16_bit_dicom_of_a_film_is_the_training_image(photometric):
    for path in sorted((SHARED / "cxr" / "fullres").glob("*.png")):
        film = np.asarray(PilImage.open(path)).astype(np.uint16) * 257
        jpeg = SHARED / "cxr" / "images" / f"iu_{path.name.removesuffix('.dcm.png')}.jpg"
        stored = 65535 - film if photometric == "MONOCHROME1" else film
        ds = dataset(stored, 16, PhotometricInterpretation=photometric)
        trained = render_grey(np.asarray(PilImage.open(jpeg)), SQUASH)
        assert np.abs(grey(ds) - to_uint8(trained).astype(int)).mean() < 3
