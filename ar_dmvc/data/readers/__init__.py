"""Readers of files that hold views: each gives valid arrays or a clear error, whatever the file."""

from ar_dmvc.data.readers.arrays import ArrayFile, Arrays, read_npy_folder, read_npz
from ar_dmvc.data.readers.idx import read_idx
from ar_dmvc.data.readers.matlab import Orientation, read_mat

__all__ = ["ArrayFile", "Arrays", "Orientation", "read_idx", "read_mat", "read_npy_folder", "read_npz"]
