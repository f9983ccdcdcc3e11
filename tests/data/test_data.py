import gzip
import hashlib
import struct
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from ar_dmvc.data import Digits, MultiViewData, MultiViewDataset, NoisyMNIST
from ar_dmvc.data.dataset import BatchLoader
from ar_dmvc.data.pairing import pair_with_noisy
from ar_dmvc.data.readers.idx import read_idx
from ar_dmvc.errors import DataError
from tests.conftest import SHARED


def small_data(samples: int = 20) -> MultiViewData:
    return MultiViewData(
        tuple(torch.rand(samples, 3, generator=torch.Generator().manual_seed(view)) for view in range(2)),
        torch.arange(samples) % 4,
    )


def write_idx(path: Path, values: np.ndarray) -> Path:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    content = header + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_mnist(folder: Path, samples: int = 240, suffix: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    write_idx(folder / f"t10k-images-idx3-ubyte{suffix}", random.integers(0, 256, (samples, 28, 28)))
    write_idx(folder / f"t10k-labels-idx1-ubyte{suffix}", np.arange(samples) % 10)
    return folder


class TestPartitions:
    def test_halves_are_disjoint_cover_everything_and_are_the_same_every_time(self) -> None:
        first, again = Digits(), Digits()
        victim, attacker = first.subset("victim").indices, first.subset("attacker").indices
        assert torch.equal(victim, again.subset("victim").indices)
        assert torch.equal(torch.cat([victim, attacker]).sort().values, torch.arange(1797))
        assert len(attacker) - len(victim) == 1
        assert not torch.equal(Digits(seed=8).subset("victim").indices, victim)

    def test_loaders_hand_out_their_partitions(self) -> None:
        digits = Digits(partition="attacker", test_partition="all", predict_partition="victim")
        loaders = {
            "attacker": digits.val_dataloader(),
            "all": digits.test_dataloader(),
            "victim": digits.predict_dataloader(),
        }
        for partition, loader in loaders.items():
            assert torch.equal(torch.cat([batch.index for batch in loader]), digits.subset(partition).indices)

    def test_classes_are_those_of_the_same_halves(self) -> None:
        whole, seen, unseen = Digits(), Digits(classes=[0, 1, 2]), Digits(classes=[3, 4, 5, 6, 7, 8, 9])
        labels = whole.data.labels
        assert labels is not None
        for partition in ("victim", "attacker", "all"):
            parts = [data.subset(partition).indices for data in (seen, unseen)]
            assert (labels[parts[0]] < 3).all()
            assert torch.equal(torch.cat(parts).sort().values, whole.subset(partition).indices.sort().values)
        assert (seen.num_clusters, unseen.num_clusters, Digits(classes=[1], num_clusters=4).num_clusters) == (3, 7, 4)

    def test_batches_hold_what_the_data_set_has_at_their_index(self) -> None:
        digits = Digits()
        for batch in digits.train_dataloader():
            assert len(batch.index) == 100
            for view, whole in zip(batch.views, digits.data.views, strict=True):
                assert view.dtype == torch.float32
                assert torch.equal(view, whole[batch.index])
            assert torch.equal(batch.labels, digits.data.labels[batch.index])


class TestBatchLoader:
    def test_seed_and_epoch_decide_the_order(self) -> None:
        def order(seed: int, epoch: int) -> list[int]:
            loader = BatchLoader(MultiViewDataset(small_data()), 6, seed)
            loader.order.set_epoch(epoch)
            torch.manual_seed(epoch * 7 + seed)  # global randomness has no say
            return torch.cat([batch.index for batch in loader]).tolist()

        assert order(1, 0) == order(1, 0)
        assert order(1, 0) != order(1, 1)
        assert order(1, 0) != order(2, 0)
        assert len(set(order(1, 0))) == len(order(1, 0)) == 18

    @given(stop=st.integers(0, 3))
    def test_resumes_where_it_stopped(self, stop: int) -> None:
        whole = BatchLoader(MultiViewDataset(small_data()), 6, 1)
        expected = [batch.index.tolist() for batch in whole]
        first = BatchLoader(MultiViewDataset(small_data()), 6, 1)
        seen = [batch.index.tolist() for batch, _ in zip(first, range(stop), strict=False)][:stop]
        rest = BatchLoader(MultiViewDataset(small_data()), 6, 1)
        rest.load_state_dict({"delivered": stop})
        seen += [batch.index.tolist() for batch in rest]
        assert seen == (expected if stop < 3 else expected + expected)
        assert [batch.index.tolist() for batch in rest] == expected

    @pytest.mark.parametrize("seed", [None, 3])
    @pytest.mark.parametrize("workers", [1, 3])
    def test_workers_do_not_change_batches_or_their_order(self, seed: int | None, workers: int) -> None:
        alone = list(BatchLoader(MultiViewDataset(small_data()), 6, seed))
        helped = list(BatchLoader(MultiViewDataset(small_data()), 6, seed, num_workers=workers))
        assert len(alone) == len(helped)
        for one, other in zip(alone, helped, strict=True):
            assert torch.equal(one.index, other.index)
            assert torch.equal(one.views[1], other.views[1])

    @given(samples=st.integers(1, 40), batch_size=st.integers(1, 9), processes=st.integers(1, 5))
    def test_processes_share_every_sample_exactly_once(self, samples: int, batch_size: int, processes: int) -> None:
        data = MultiViewData((torch.rand(samples, 2),), None)
        loaders = [
            BatchLoader(MultiViewDataset(data), batch_size, process=process, processes=processes)
            for process in range(processes)
        ]
        shares = [list(loader) for loader in loaders]
        assert [len(loader) for loader in loaders] == [len(share) for share in shares]
        seen = torch.cat([batch.index for share in shares for batch in share])
        assert seen.sort().values.tolist() == list(range(samples))

    @given(samples=st.integers(1, 40), batch_size=st.integers(2, 9), processes=st.integers(1, 3))
    def test_no_sample_is_alone_unless_there_is_no_other(self, samples: int, batch_size: int, processes: int) -> None:
        dataset = MultiViewDataset(MultiViewData((torch.rand(samples, 2),), None))
        for process in range(processes):
            for batch in BatchLoader(dataset, batch_size, process=process, processes=processes):
                assert len(batch.index) != 1 or samples == 1

    @given(samples=st.integers(6, 40), processes=st.integers(1, 3))
    def test_processes_share_each_training_batch(self, samples: int, processes: int) -> None:
        dataset = MultiViewDataset(MultiViewData((torch.rand(samples, 2),), None))
        whole = [batch.index for batch in BatchLoader(dataset, 6, seed=2)]
        shares = [list(BatchLoader(dataset, 6, 2, process=process, processes=processes)) for process in range(processes)]
        assert len(whole) == samples // 6
        for number, batch in enumerate(whole):
            parts = torch.cat([share[number].index for share in shares])
            assert parts.sort().values.tolist() == batch.sort().values.tolist()

    def test_data_modules_share_among_the_trainer_s_processes(self) -> None:
        shares = []
        for process in range(2):
            digits = Digits()
            digits.trainer = SimpleNamespace(
                global_rank=process, world_size=2, strategy=SimpleNamespace(broadcast=lambda seed: seed)
            )
            shares.append(torch.cat([batch.index for batch in digits.test_dataloader()]))
            assert sum(len(batch.index) for batch in digits.train_dataloader()) == 8 * 50
            assert sum(len(batch.index) for batch in digits.training_part()) == 898
        assert torch.equal(torch.cat(shares).sort().values, Digits().subset("attacker").indices.sort().values)

    def test_data_can_be_kept_on_a_device(self) -> None:
        loader = BatchLoader(MultiViewDataset(small_data()), 6, device=torch.device("meta"))
        assert all(view.device.type == "meta" for view in loader.dataset.data.views)


class TestChecks:
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda v, y: ((v[0], v[1][:-1]), y), r"different numbers of samples: \[20, 19, 20\]"),
            (lambda v, y: (v, y[:-2]), r"different numbers of samples: \[20, 20, 18\]"),
            (lambda v, y: ((v[0], v[1] * float("nan")), y), "view 1 has NaN or infinite values"),
            (lambda v, y: ((v[0] / 0, v[1]), y), "view 0 has NaN or infinite values"),
            (lambda v, y: ((v[0] + 1.5, v[1]), y), r"view 0 has values from 1\.\d+ to 2\.\d+, outside \[0, 1\]"),
            (lambda v, y: ((v[0][:0], v[1][:0]), y[:0]), "no samples"),
            (lambda v, y: ((), y), "no samples"),
        ],
    )
    def test_spoilt_data_is_said(self, spoil: object, message: str) -> None:
        data = small_data()
        with pytest.raises(DataError, match=f"toy: .*{message}"):
            MultiViewData(*spoil(data.views, data.labels)).check("toy")

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"batch_size": 1000}, r"partition 'victim' has 898 samples, fewer than a batch \(data.batch_size = 1000\)"),
            ({"classes": [3, 12]}, r"classes: no sample has label 12; there are \[0, 1, 2,"),
            ({"num_clusters": 1000}, r"more clusters \(data.num_clusters = 1000\) than samples \(898 in partition 'victim'\)"),
        ],
    )
    def test_settings_that_do_not_fit_the_data_are_said(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(DataError, match=message):
            Digits(**settings).prepare_data()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"batch_size": 1}, "at least 2"),
            ({"epsilon": 0.0}, "epsilon must be in"),
            ({"partition": "half"}, "partition: 'half' is not one of victim, attacker, all"),
            ({"classes": []}, "classes must be different labels, one at least"),
            ({"classes": [1, 1]}, "classes must be different labels"),
        ],
    )
    def test_settings_out_of_range_are_said(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(DataError, match=message):
            Digits(**settings)


class TestPairing:
    def test_views_are_the_image_and_a_noisy_one_of_its_class(self) -> None:
        digits = load_digits()
        data = pair_with_noisy(digits.images, digits.target, seed=7, largest=16)
        assert torch.equal(data.views[0][:, 0], torch.from_numpy(digits.images / 16).float())
        # What the noise was drawn from is known, so it can be taken off again.
        random = np.random.default_rng(7)
        partner = np.arange(len(digits.target))
        for label in range(10):
            members = np.flatnonzero(digits.target == label)
            partner[members] = random.permutation(members)
        noise = 0.2 * random.standard_normal((len(partner), 1, 8, 8), dtype=np.float32)
        expected = digits.images[partner][:, None] / 8 - 1 + noise
        expected = (expected - expected.min()) / (expected.max() - expected.min())
        np.testing.assert_allclose(data.views[1].numpy(), expected, atol=1e-6)
        assert (digits.target[partner] == digits.target).all()

    def test_each_view_fills_the_unit_range(self) -> None:
        for view in Digits().data.views:
            assert view.min() == 0
            assert view.max() == 1


class TestIdx:
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_reads_what_was_written(self, suffix: str, tmp_path: Path) -> None:
        values = np.random.default_rng(0).integers(0, 256, (5, 4, 3))
        assert (read_idx(write_idx(tmp_path / f"x{suffix}", values), 3) == values).all()

    def test_real_files(self) -> None:
        folder = SHARED / "data"
        if not (folder / "t10k-images-idx3-ubyte.gz").is_file():
            pytest.skip(f"{folder} has no MNIST files; set AR_DMVC_SHARED")
        data = NoisyMNIST(root=folder, splits=["test"]).data
        assert [tuple(view.shape) for view in data.views] == [(10_000, 1, 28, 28)] * 2
        assert torch.bincount(data.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]

    @given(data=st.data())
    def test_damage_is_said_or_harmless(self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("idx") / f"x{data.draw(st.sampled_from(['', '.gz']))}"
        content = bytearray(write_idx(path, np.arange(24).reshape(2, 3, 4)).read_bytes())
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        try:
            assert read_idx(path, 3).size == 24
        except DataError as error:
            assert str(path) in str(error)  # noqa: PT017  either outcome is right

    def test_wrong_kind_and_missing_files_are_said(self, tmp_path: Path) -> None:
        labels = write_idx(tmp_path / "labels", np.arange(3))
        with pytest.raises(DataError, match="not an IDX file of 3-dimensional"):
            read_idx(labels, 3)
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(tmp_path / "none", 3)
        too_long = tmp_path / "long"
        too_long.write_bytes(labels.read_bytes() + b"\0")
        with pytest.raises(DataError, match="longer than its header says"):
            read_idx(too_long, 1)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A mirror on localhost: its address and its folder."""
    folder = write_mnist(tmp_path / "mirror", suffix=".gz")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", folder
        http.shutdown()
        thread.join()


class TestNoisyMNIST:
    def test_reads_files_gzipped_or_not(self, tmp_path: Path) -> None:
        plain = NoisyMNIST(root=write_mnist(tmp_path / "plain"), splits=["test"]).data
        gzipped = NoisyMNIST(root=write_mnist(tmp_path / "gz", suffix=".gz"), splits=["test"]).data
        assert all(torch.equal(one, other) for one, other in zip(plain.views, gzipped.views, strict=True))

    def test_downloads_what_is_missing_from_the_first_mirror_that_works(
        self, server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address, folder = server
        sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        monkeypatch.setattr(NoisyMNIST, "sha256", sums)
        root = tmp_path / "deep" / "root"
        data = NoisyMNIST(root=root, splits=["test"], mirrors=["http://127.0.0.1:9", f"{address}/nowhere", address])
        data.prepare_data()
        assert len(data.data.views[0]) == 240
        assert {path.name for path in root.iterdir()} == set(sums)

    def test_nothing_is_left_of_a_download_that_cannot_be_trusted(self, server: tuple[str, Path], tmp_path: Path) -> None:
        address, _ = server
        with pytest.raises(DataError, match=r"t10k-images.*cannot be downloaded .*checksum differs") as caught:
            NoisyMNIST(root=tmp_path / "root", splits=["test"], mirrors=[address]).prepare_data()
        assert address in str(caught.value)
        assert list((tmp_path / "root").iterdir()) == []

    def test_no_network_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"not there, and cannot be downloaded .*refused"):
            NoisyMNIST(root=tmp_path, splits=["test"], mirrors=["http://127.0.0.1:9"]).prepare_data()

    def test_files_that_do_not_belong_together_are_said(self, tmp_path: Path) -> None:
        root = write_mnist(tmp_path)
        write_idx(root / "t10k-labels-idx1-ubyte", np.arange(7))
        with pytest.raises(DataError, match="240 images, t10k-labels-idx1-ubyte has 7 labels"):
            NoisyMNIST(root=root, splits=["test"]).prepare_data()
        write_idx(root / "t10k-images-idx3-ubyte", np.zeros((7, 20, 20)))
        with pytest.raises(DataError, match="images are 20x20, not 28x28"):
            NoisyMNIST(root=root, splits=["test"]).prepare_data()

    @pytest.mark.parametrize("splits", [[], ["dev"], ["test", "test"]])
    def test_unknown_splits_are_said(self, splits: list[str]) -> None:
        with pytest.raises(DataError, match="splits must be some of train, test"):
            NoisyMNIST(splits=splits)
