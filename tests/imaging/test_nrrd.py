import nrrd
import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from lib.errors import ImageError
from lib.imaging.affine import LPS_TO_RAS, compose_affine
from lib.imaging.grid import ReadLimits
from lib.imaging.nrrd import (
    encode_nrrd,
    encode_nrrd_slices,
    read_nrrd,
    write_nrrd,
    write_nrrd_slices,
)

LIMITS = ReadLimits()
VOXELS = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.nrrd"


def oblique(seed):
    direction = Rotation.random(random_state=seed).as_matrix()
    return compose_affine([0.7, 1.3, 2.5], [10, -20, 30], direction)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("scanner-xyz", (-1, -1, 1)),
    ],
)
@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_spaces_become_ras(path, space, signs, encoding):
    own = oblique(3)
    header = {
        "space": space,
        "space directions": own[:3, :3].T,
        "space origin": own[:3, 3],
        "encoding": encoding,
    }
    nrrd.write(str(path), VOXELS, header)
    volume = read_nrrd(path, LIMITS)
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.array.dtype == np.int16
    assert volume.array.flags.f_contiguous
    np.testing.assert_allclose(volume.affine, np.diag([*signs, 1.0]) @ own, atol=1e-9)


def test_a_file_without_space_counts_as_lps(path):
    nrrd.write(str(path), VOXELS, {"spacings": [1.0, 2.0, 3.0]})
    np.testing.assert_allclose(read_nrrd(path, LIMITS).affine, np.diag([-1, -2, 3, 1]))


def test_two_and_four_dimensions(path):
    nrrd.write(str(path), VOXELS[:, :, 0])
    flat = read_nrrd(path, LIMITS)
    np.testing.assert_array_equal(flat.slice(0), VOXELS[:, :, 0].T)
    nrrd.write(str(path), VOXELS[..., None])
    np.testing.assert_array_equal(read_nrrd(path, LIMITS).array, VOXELS)
    nrrd.write(str(path), np.stack([VOXELS] * 5, axis=-1))
    with pytest.raises(ImageError, match=r"\(2, 3, 4, 5\)"):
        read_nrrd(path, LIMITS)


def test_colour_and_other_vectors(path):
    header = {
        "kinds": ["RGB-color", "domain", "domain", "domain"],
        "space": "LPS",
        "space directions": [[np.nan] * 3, [1, 0, 0], [0, 2, 0], [0, 0, 3]],
    }
    pixels = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 2)).astype(np.uint8)
    nrrd.write(str(path), pixels, dict(header))
    volume = read_nrrd(path, LIMITS)
    np.testing.assert_array_equal(volume.array, np.moveaxis(pixels, 0, -1))
    assert volume.spacing == (1, 2, 3)
    header["kinds"][0] = "vector"
    nrrd.write(str(path), pixels.astype(np.float32), dict(header))
    with pytest.raises(ImageError, match="3 numbers"):
        read_nrrd(path, LIMITS)


def test_doubles_and_holes(path):
    array = VOXELS.astype(np.float64)
    array[1, 2, 3] = np.inf
    nrrd.write(str(path), array)
    volume = read_nrrd(path, LIMITS)
    assert volume.array.dtype == np.float32
    assert volume.array[1, 2, 3] == 0
    assert volume.warnings


@pytest.mark.parametrize("field", ["data file: other.raw", "datafile: /etc/passwd"])
def test_no_other_file_is_followed(path, field):
    (path.parent / "other.raw").write_bytes(VOXELS.tobytes())
    lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 2 3 4", "encoding: raw"]
    path.write_text("\n".join([*lines, "endian: little", field]) + "\n\n")
    with pytest.raises(ImageError, match="another file"):
        read_nrrd(path, LIMITS)


def test_limits_come_before_the_voxels(path):
    lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 4000 4000 4000"]
    path.write_text("\n".join([*lines, "encoding: raw", "endian: little"]) + "\n\n")
    with pytest.raises(ImageError, match="64000000000 voxels"):
        read_nrrd(path, LIMITS)


@pytest.mark.parametrize("encoding", ["gzip", "raw"])
def test_damaged_files(path, encoding):
    nrrd.write(str(path), VOXELS, {"encoding": encoding})
    content = path.read_bytes()
    for damaged in (b"", b"NRRD", content[:60], content[:-30], b"x" * 300):
        path.write_bytes(damaged)
        with pytest.raises(ImageError, match=r"a\.nrrd"):
            read_nrrd(path, LIMITS)
    path.write_bytes(content.replace(b"sizes: 2 3 4", b"sizes: 0 3 4"))
    with pytest.raises(ImageError):
        read_nrrd(path, LIMITS)


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_flipped_bit_is_noticed(path, place):
    noise = np.random.default_rng(0).integers(0, 4000, (20, 20, 20)).astype(np.int16)
    nrrd.write(str(path), noise)
    content = bytearray(path.read_bytes())
    data = content.index(b"\n\n") + 2
    content[data + int(place * (len(content) - data))] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.nrrd"):
        read_nrrd(path, LIMITS)


@pytest.mark.parametrize("seed", range(4))
def test_itk_reads_what_was_written(path, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 256, (5, 7, 9)).astype(np.uint8)
    affine = oblique(seed)
    write_nrrd(path, labels, affine)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, labels)
    assert image.GetPixelID() == SimpleITK.sitkUInt8
    np.testing.assert_allclose(image.GetSpacing(), [0.7, 1.3, 2.5], atol=1e-6)
    np.testing.assert_allclose(image.GetOrigin(), [-10, 20, 30], atol=1e-6)
    direction = np.reshape(image.GetDirection(), (3, 3))
    np.testing.assert_allclose(
        LPS_TO_RAS[:3, :3] @ direction * image.GetSpacing(), affine[:3, :3], atol=1e-6
    )


@pytest.mark.parametrize("filled", [[], [0], [8], [3, 4]])
def test_slices_alone_make_the_same_file_as_the_volume(path, filled):
    labels = np.zeros((5, 7, 9), np.uint8)
    labels[1:4, 2:5, filled] = 3
    slices = {k: labels[:, :, k].T for k in filled}
    content = encode_nrrd_slices(slices, labels.shape, oblique(1))
    for layout in (labels, np.asfortranarray(labels)):
        assert encode_nrrd(layout, oblique(1)) == content
    write_nrrd_slices(path, slices, labels.shape, oblique(1))
    for read in (
        nrrd.read(str(path))[0],
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T,
        read_nrrd(path, LIMITS).array,  # compares the checksum too
    ):
        np.testing.assert_array_equal(read, labels)


def test_every_digit_of_the_affine_survives(path):
    affine = oblique(7)
    write_nrrd(path, np.zeros((2, 2, 2), np.uint8), affine)
    _, header = nrrd.read(str(path))
    assert header["space"] == "left-posterior-superior"
    np.testing.assert_array_equal(header["space directions"].T, (LPS_TO_RAS @ affine)[:3, :3])
    np.testing.assert_allclose(read_nrrd(path, LIMITS).affine, affine, atol=1e-12)


def test_only_label_maps_are_written():
    for array in (np.zeros((2, 2, 2), np.int16), np.zeros((2, 2), np.uint8)):
        with pytest.raises(ValueError, match="uint8"):
            encode_nrrd(array, np.eye(4))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "x" * 5000),  # ITK's reader ends the process on it
        ("type", ""),
        ("dimension", "0"),
        ("dimension", "2"),
        ("sizes", "2 2 -2"),
        ("sizes", "2 2"),
        ("encoding", "pickle"),
        ("content", "x" * 5000),
        ("content", "a\0b"),
    ],
)
def test_headers_that_no_program_writes(path, field, value):
    fields = {"type": "uchar", "dimension": "3", "sizes": "2 2 2", "encoding": "raw"}
    path.write_text("NRRD0004\n" + "".join(f"{k}: {v}\n" for k, v in fields.items()) + "\n" * 9)
    assert read_nrrd(path, ReadLimits()).shape == (2, 2, 2)
    fields[field] = value
    path.write_text("NRRD0004\n" + "".join(f"{k}: {v}\n" for k, v in fields.items()) + "\n" * 9)
    with pytest.raises(ImageError, match="NRRD"):
        read_nrrd(path, ReadLimits())


def test_a_header_without_an_end(path):
    path.write_bytes(b"NRRD0004\n" + b"# a comment\n" * 10_000)
    with pytest.raises(ImageError, match="does not end"):
        read_nrrd(path, ReadLimits())
