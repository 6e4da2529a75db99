"""The other codecs of bench/compressed_files.py, each on one thread, through its own Python package.

A peer has `prepare`, whose time is not counted, `compress` and `decompress`, which take what the one before
gave, and `bits`, the decoded values as an array of bytes. Settings are those of the packages if nothing
else is said here; zstd stands for what its own command does at that level, checksum and all.
"""
import numpy as np
import openzl.ext as openzl
import torch
import zipnn
import zstandard
from pcodec import ChunkConfig, standalone

WIDTHS = {torch.float32: 32, torch.float16: 16, torch.bfloat16: 16}


def integers(tensor):
    """The bits of the values, as a flat array of unsigned integers in the memory of the tensor, which is
    row-major."""
    wide = WIDTHS[tensor.dtype] == 32
    signed = tensor.view(-1).view(torch.int32 if wide else torch.int16)
    return signed.numpy().view(np.uint32 if wide else np.uint16)


class Zstd:
    def __init__(self, level):
        self.name = f"zstd -{level}"
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
        self._decompressor = zstandard.ZstdDecompressor()

    def prepare(self, tensor):
        return integers(tensor).view(np.uint8).data

    def compress(self, values):
        return self._compressor.compress(values)

    def decompress(self, compressed):
        return self._decompressor.decompress(compressed)

    def bits(self, decoded):
        return np.frombuffer(decoded, np.uint8)


class ZipNN:
    """Gets clones: it rewrites the memory that it compresses."""

    name = "ZipNN"

    def __init__(self):
        self._codec = zipnn.ZipNN(input_format="torch", threads=1)

    def prepare(self, tensor):
        return tensor.clone()

    def compress(self, tensor):
        return self._codec.compress(tensor)

    def decompress(self, compressed):
        return self._codec.decompress(compressed)

    def bits(self, decoded):
        return integers(decoded).view(np.uint8)


class Pcodec:
    """BF16 as integers of 16 bits, since it has no such type."""

    name = "pcodec"

    def prepare(self, tensor):
        values = integers(tensor)
        self._decoded = np.empty_like(values).view(self._type(tensor))
        return values.view(self._type(tensor))

    def compress(self, values):
        return standalone.simple_compress(values, ChunkConfig())

    def decompress(self, compressed):
        standalone.simple_decompress_into(compressed, self._decoded)
        return self._decoded

    def bits(self, decoded):
        return decoded.view(np.uint8)

    @staticmethod
    def _type(tensor):
        return {torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.uint16}[tensor.dtype]


class OpenZL:
    """Its node zl.sparse_num: distances and values. Of the values, exponents are split off. Both go to
    whichever of its entropy coders is smaller; signs and fractions are stored."""

    name = "OpenZL"
    _SPLITS = {torch.float32: openzl.nodes.Float32Deconstruct, torch.float16: openzl.nodes.Float16Deconstruct,
               torch.bfloat16: openzl.nodes.BFloat16Deconstruct}

    def __init__(self):
        self._compressors = {dtype: self._compressor(split) for dtype, split in self._SPLITS.items()}
        self._dtype = None

    @staticmethod
    def _compressor(split):
        compressor = openzl.Compressor()
        compressor.set_parameter(openzl.CParam.FormatVersion, openzl.MAX_FORMAT_VERSION)
        entropy, store = openzl.graphs.Entropy()(compressor), openzl.graphs.Store()(compressor)
        values = split()(compressor, sign_frac=store, exponent=entropy)
        node = compressor.get_node("zl.sparse_num")
        compressor.select_starting_graph(compressor.build_static_graph(node, [entropy, values]))
        return compressor

    def prepare(self, tensor):
        self._dtype = tensor.dtype
        return [openzl.Input(openzl.Type.Numeric, integers(tensor))]

    def compress(self, inputs):
        context = openzl.CCtx()
        context.ref_compressor(self._compressors[self._dtype])
        context.set_parameter(openzl.CParam.FormatVersion, openzl.MAX_FORMAT_VERSION)
        return context.compress(inputs)

    def decompress(self, compressed):
        return openzl.DCtx().decompress(compressed)

    def bits(self, decoded):
        return decoded[0].content.as_nparray().view(np.uint8)
