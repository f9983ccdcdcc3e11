"""RegDB, from a tree of the same layout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from ar_dmvc.data import RegDB
from ar_dmvc.data.regdb import read_image
from ar_dmvc.errors import DataError

EACH = 3
FEW = {"batch_size": 2, "identities": 4}


def colour(identity: int, spectrum: str, number: int) -> int:
    return 20 * identity + 5 * number + (100 if spectrum == "thermal" else 0)


def write_regdb(root: Path, size: tuple[int, int] = (64, 128)) -> Path:
    """Identities 1 to 6, odd ones in the training list; labels count from 0 in each list."""
    (root / "idx").mkdir(parents=True)
    for part, identities in (("train", (1, 3, 5)), ("test", (2, 4, 6))):
        for spectrum in ("visible", "thermal"):
            lines = []
            for label, identity in enumerate(identities):
                folder = root / spectrum.capitalize() / str(identity)
                folder.mkdir(parents=True, exist_ok=True)
                for number in range(EACH):
                    name = f"{spectrum.capitalize()}/{identity}/image {number}.bmp"
                    Image.new("RGB", size, (colour(identity, spectrum, number),) * 3).save(root / name)
                    lines.append(f"{name} {label}")
            (root / "idx" / f"{part}_{spectrum}_1.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_regdb(tmp_path / "regdb")


def test_pairs_visible_with_thermal_of_the_same_identity(root: Path) -> None:
    data = RegDB(root=root, **FEW)
    assert data.view_shapes == ((3, 128, 64),) * 2
    assert data.num_clusters == 4
    visible, thermal = data.data.views
    assert visible.dtype == torch.uint8
    assert visible.shape == thermal.shape == (4 * EACH, 3, 128, 64)
    assert data.data.labels.tolist() == [label for label in range(4) for _ in range(EACH)]
    order = [1, 3, 5, 2]
    assert visible[:, 0, 0, 0].tolist() == [colour(order[label], "visible", n) for label in range(4) for n in range(EACH)]
    assert thermal[:, 0, 0, 0].tolist() == [colour(order[label], "thermal", n) for label in range(4) for n in range(EACH)]


def test_batches_are_in_the_unit_range(root: Path) -> None:
    data = RegDB(root=root, **FEW)
    batch = data.subset("all").batch(torch.tensor([0]))
    torch.testing.assert_close(batch.views[0], torch.full((1, 3, 128, 64), colour(1, "visible", 0) / 255))
    assert data.in_unit_range


def test_images_of_other_sizes_and_kinds_are_resized(tmp_path: Path) -> None:
    Image.fromarray(np.full((200, 90), 77, dtype=np.uint8)).save(tmp_path / "grey.png")
    image = read_image(tmp_path / "grey.png")
    assert image.shape == (3, 128, 64)
    assert (image == 77).all()


def test_where_one_spectrum_has_more_the_rest_is_left_out(root: Path) -> None:
    path = root / "idx" / "train_thermal_1.txt"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    assert torch.bincount(RegDB(root=root, **FEW).data.labels).tolist() == [EACH - 1, EACH, EACH, EACH]


class TestConversion:
    def test_images_are_decoded_once(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        first = RegDB(root=root, **FEW).load()
        monkeypatch.setattr("ar_dmvc.data.regdb.read_image", None)
        again = RegDB(root=root, **FEW).load()
        assert all(torch.equal(*pair) for pair in zip(first.views, again.views, strict=True))
        assert torch.equal(first.labels, again.labels)

    def test_changed_images_are_decoded_again(self, root: Path) -> None:
        RegDB(root=root, **FEW).load()
        Image.new("RGB", (64, 128), (250,) * 3).save(root / "Visible/1/image 0.bmp")
        assert RegDB(root=root, **FEW).load().views[0][0, 0, 0, 0] == 250

    def test_a_folder_that_cannot_be_written_is_no_trouble(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (root / "converted").write_text("in the way")
        assert len(RegDB(root=root, **FEW).load().labels) == 4 * EACH
        assert "images will be decoded again" in capfd.readouterr().err


class TestBadInput:
    def spoil(self, root: Path, line: str) -> Path:
        path = root / "idx" / "train_visible_1.txt"
        path.write_text(path.read_text() + line + "\n")
        return root

    def test_an_image_that_is_not_there(self, root: Path) -> None:
        with pytest.raises(DataError, match=r"train_visible_1.txt:10: names Visible/1/none.bmp, which is not there"):
            RegDB(root=self.spoil(root, "Visible/1/none.bmp 0"), **FEW).prepare_data()

    def test_a_path_that_leads_outside(self, root: Path) -> None:
        Image.new("RGB", (4, 4)).save(root.parent / "other.bmp")
        with pytest.raises(DataError, match=r"\.\./other.bmp is outside of"):
            RegDB(root=self.spoil(root, "../other.bmp 0"), **FEW).prepare_data()

    @pytest.mark.parametrize("line", ["Visible/1/image", "Visible/1/image 0.bmp x", "1"])
    def test_a_line_that_is_none(self, line: str, root: Path) -> None:
        with pytest.raises(DataError, match="not a path, a space and a label"):
            RegDB(root=self.spoil(root, line), **FEW).prepare_data()

    def test_spectra_that_do_not_fit(self, root: Path) -> None:
        with pytest.raises(DataError, match="different identities for the two spectra"):
            RegDB(root=self.spoil(root, "Visible/1/image 0.bmp 9"), **FEW).prepare_data()

    def test_fewer_identities_than_asked_for(self, root: Path) -> None:
        with pytest.raises(DataError, match="name 6 identities, not 412"):
            RegDB(root=root).prepare_data()

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"train_visible_1.txt: cannot be read \(No such file"):
            RegDB(root=tmp_path, **FEW).prepare_data()

    @given(place=st.integers(0, 400), bit=st.integers(0, 7), cut=st.booleans())
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_damaged_image_is_said_or_harmless(self, place: int, bit: int, cut: bool, tmp_path: Path) -> None:
        path = tmp_path / "image.png"
        Image.effect_noise((20, 40), 50).save(path)
        content = bytearray(path.read_bytes())
        if cut:
            del content[place:]
        else:
            content[place] ^= 1 << bit
        path.write_bytes(content)
        try:
            assert read_image(path).shape == (3, 128, 64)
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017  either outcome is right

    def test_a_huge_image(self, tmp_path: Path) -> None:
        Image.new("1", (4000, 4000)).save(tmp_path / "huge.png")
        with pytest.raises(DataError, match="4000 x 4000 pixels, too large"):
            read_image(tmp_path / "huge.png")

    @pytest.mark.parametrize("options", [{"trial": 0}, {"trial": 11}, {"identities": 1}])
    def test_settings_out_of_range(self, options: dict[str, int]) -> None:
        with pytest.raises(DataError, match="must be"):
            RegDB(**options)
