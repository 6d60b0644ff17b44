"""Every layer against PyTorch's layer of the same name: signature, repr, state-dict keys, outputs and gradients from the same weights."""
from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import cltorch
from cltorch import nn
from cltorch.testing import assert_close

torch = pytest.importorskip("torch")


@dataclass
class Case:
    """One layer with its constructor's arguments and what its forward takes: shapes, arrays, or a maker of arrays."""

    name: str
    args: tuple = ()
    inputs: tuple = ((4, 6),)
    options: dict = field(default_factory=dict)
    call: dict = field(default_factory=dict)
    random: bool = False  # the result depends on a random draw: only evaluation mode is compared

    def __str__(self) -> str:
        shown = [str(a) for a in self.args] + [f"{k}={v}" for k, v in self.options.items()] + list(self.call)
        return f"{self.name}({','.join(shown)})".replace(" ", "")


def classes(n: int, of: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, of, n)


def signs(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).choice([-1.0, 1.0], shape).astype(np.float32)


def between(low: float, high: float, *shape: int) -> np.ndarray:
    return np.random.default_rng(7).uniform(low, high, shape).astype(np.float32)


def log_probabilities(*shape: int) -> np.ndarray:
    x = between(-2, 2, *shape)
    return (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(np.float32)


V, CL, IM, VOL = (4, 6), (2, 4, 9), (2, 4, 6, 7), (2, 4, 3, 4, 5)  # batches of vectors, sequences, images, volumes
WEIGHTS = between(0.2, 2.0, 6)
PAIR = (V, V)

CASES = [
    Case("Identity", (), (V,)), Case("Linear", (6, 3), (V,)), Case("Linear", (6, 3), ((2, 3, 6),), {"bias": False}), Case("Linear", (6, 1), ((6,),)),
    Case("Bilinear", (6, 5, 3), (V, (4, 5))), Case("Bilinear", (6, 5, 3), ((2, 3, 6), (2, 3, 5)), {"bias": False}),
    Case("Flatten", (), (IM,)), Case("Flatten", (0, 2), (IM,)), Case("Unflatten", (1, (2, 3)), (V,)),
    # activations
    *[Case(name, (), (V,)) for name in (
        "ReLU ReLU6 SiLU Mish SELU Hardswish Hardsigmoid Sigmoid Tanh LogSigmoid Softsign Tanhshrink LeakyReLU ELU CELU Hardtanh GELU Softplus "
        "Softshrink Hardshrink PReLU GLU").split()],
    *[Case(name, (), (V,), {"inplace": True}) for name in "ReLU ReLU6 SiLU Mish SELU Hardswish Hardsigmoid LeakyReLU ELU CELU Hardtanh".split()],
    Case("LeakyReLU", (0.3,)), Case("ELU", (0.7,)), Case("CELU", (0.7,)), Case("Hardtanh", (-0.5, 0.25)), Case("Threshold", (0.1, -3.0)),
    Case("GELU", ("tanh",)), Case("Softplus", (2.0, 1.0)), Case("Softshrink", (0.2,)), Case("Hardshrink", (0.2,)), Case("PReLU", (4,), (IM,)),
    Case("GLU", (0,)), Case("RReLU", (), (V,), random=True), Case("RReLU", (0.2, 0.4), (V,), random=True),
    *[Case(name, (dim,), (CL,)) for name in ("Softmax", "Softmin", "LogSoftmax") for dim in (1, -1, 0)], Case("Softmax2d", (), (IM,)),
    # convolution
    Case("Conv2d", (4, 8, 3), (IM,)), Case("Conv2d", (4, 6, (3, 2)), (IM,), {"stride": (2, 1), "padding": (1, 2), "bias": False}),
    Case("Conv2d", (4, 8, 3), (IM,), {"dilation": 2, "groups": 2}), Case("Conv2d", (4, 4, 3), (IM,), {"groups": 4, "padding": "same"}),
    Case("Conv2d", (4, 8, 3), ((4, 6, 7),), {"padding": 1}), Case("Conv2d", (4, 8, 1), (IM,)),
    *[Case("Conv2d", (4, 5, 3), (IM,), {"padding": 2, "padding_mode": mode}) for mode in ("reflect", "replicate", "circular")],
    Case("Conv2d", (4, 5, 2), (IM,), {"padding": "same", "padding_mode": "circular"}),
    Case("Conv1d", (4, 6, 3), (CL,), {"padding": 1, "stride": 2}), Case("Conv3d", (4, 6, 2), (VOL,), {"padding": 1}),
    Case("ConvTranspose1d", (4, 6, 3), (CL,), {"stride": 2, "output_padding": 1}), Case("ConvTranspose2d", (4, 6, 3), (IM,), {"stride": 2, "padding": 1}),
    Case("ConvTranspose3d", (4, 6, 2), (VOL,)),
    # pooling
    Case("MaxPool1d", (2,), (CL,)), Case("MaxPool2d", (2,), (IM,)), Case("MaxPool2d", (3,), (IM,), {"stride": 1, "padding": 1, "ceil_mode": True}),
    Case("MaxPool2d", ((2, 3),), (IM,), {"dilation": 2}), Case("MaxPool2d", (2,), ((4, 6, 7),), {"return_indices": True}), Case("MaxPool3d", (2,), (VOL,)),
    Case("AvgPool1d", (2,), (CL,)), Case("AvgPool2d", (2,), (IM,)),
    Case("AvgPool2d", (3,), (IM,), {"stride": 2, "padding": 1, "count_include_pad": False, "ceil_mode": True}),
    Case("AvgPool2d", (2,), (IM,), {"divisor_override": 3}), Case("AvgPool3d", (2,), (VOL,)), Case("LPPool1d", (2, 3), (CL,)), Case("LPPool2d", (2, 2), (IM,)),
    *[Case(f"Adaptive{kind}Pool1d", (3,), (CL,)) for kind in ("Avg", "Max")], *[Case(f"Adaptive{kind}Pool3d", (2,), (VOL,)) for kind in ("Avg", "Max")],
    *[Case(f"Adaptive{kind}Pool2d", (size,), (IM,)) for kind in ("Avg", "Max") for size in (1, (2, 3), (None, 4))],
    # normalisation
    Case("BatchNorm1d", (6,), (V,)), Case("BatchNorm1d", (4,), (CL,)), Case("BatchNorm2d", (4,), (IM,)), Case("BatchNorm3d", (4,), (VOL,)),
    Case("BatchNorm2d", (4,), (IM,), {"momentum": None}), Case("BatchNorm2d", (4, 1e-3, 0.3), (IM,), {"affine": False}),
    Case("BatchNorm2d", (4,), (IM,), {"track_running_stats": False}),
    Case("InstanceNorm1d", (4,), (CL,)), Case("InstanceNorm2d", (4,), (IM,), {"affine": True, "track_running_stats": True}),
    Case("InstanceNorm2d", (4,), ((4, 6, 7),)), Case("InstanceNorm3d", (4,), (VOL,)),
    Case("LayerNorm", (6,), (V,)), Case("LayerNorm", ((6, 7),), (IM,), {"eps": 1e-3}), Case("LayerNorm", (6,), (V,), {"bias": False}),
    Case("LayerNorm", (6,), (V,), {"elementwise_affine": False}), Case("GroupNorm", (2, 4), (IM,)), Case("GroupNorm", (4, 4), (CL,), {"affine": False}),
    Case("RMSNorm", (6,), (V,)), Case("RMSNorm", ((6, 7),), (IM,), {"eps": 1e-3, "elementwise_affine": False}), Case("LocalResponseNorm", (3,), (IM,)),
    # embeddings
    Case("Embedding", (10, 3), (classes(8, 10).reshape(2, 4),)), Case("Embedding", (10, 3), (classes(8, 10),), {"padding_idx": 2}),
    Case("Embedding", (10, 3), (classes(8, 4),), {"scale_grad_by_freq": True}), Case("Embedding", (10, 3), (classes(8, 10),), {"max_norm": 0.5}),
    *[Case("EmbeddingBag", (10, 3), (classes(8, 10).reshape(2, 4),), {"mode": mode}) for mode in ("sum", "mean", "max")],
    # dropout: identity in evaluation
    *[Case(name, (0.4,), (shape,), random=True) for name, shape in (
        ("Dropout", V), ("Dropout1d", CL), ("Dropout2d", IM), ("Dropout3d", VOL), ("AlphaDropout", V), ("FeatureAlphaDropout", IM))],
    *[Case(name, (0.0,), (IM,)) for name in ("Dropout", "Dropout2d")],
    # padding
    *[Case(f"{kind}Pad{rank}d", (1,), (shape,)) for kind in ("Zero", "Reflection", "Replication", "Circular") for rank, shape in ((1, CL), (2, IM), (3, VOL))],
    *[Case(f"ConstantPad{rank}d", (1, 2.5), (shape,)) for rank, shape in ((1, CL), (2, IM), (3, VOL))],
    Case("ConstantPad2d", ((1, 0, -1, 2), 0.5), (IM,)), Case("ReflectionPad2d", ((1, 2, 0, 3),), (IM,)),
    Case("PixelShuffle", (2,), ((2, 8, 3, 3),)), Case("PixelUnshuffle", (2,), ((2, 2, 4, 6),)),
    Case("Upsample", (), (IM,), {"scale_factor": 2}), Case("Upsample", (), (IM,), {"size": (5, 9), "mode": "bilinear", "align_corners": True}),
    Case("UpsamplingNearest2d", (), (IM,), {"scale_factor": 2}), Case("UpsamplingBilinear2d", (), (IM,), {"size": (8, 9)}),
    Case("Fold", ((4, 5), 2), ((2, 12, 12),)), Case("Unfold", (2,), (IM,), {"padding": 1}),
    # distances
    Case("CosineSimilarity", (), PAIR),
    Case("CosineSimilarity", (0,), PAIR), Case("PairwiseDistance", (), PAIR), Case("PairwiseDistance", (1, 1e-3, True), PAIR),
    # losses
    *[Case(name, (), PAIR, {"reduction": reduction})
      for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss", "PoissonNLLLoss")
      for reduction in ("mean", "sum", "none")],
    Case("SmoothL1Loss", (), PAIR, {"beta": 0.5}), Case("HuberLoss", (), PAIR, {"delta": 0.3}),
    *[Case("KLDivLoss", (), (V, between(0.05, 1, *V)), {"reduction": reduction}) for reduction in ("mean", "sum", "none", "batchmean")],
    Case("KLDivLoss", (), PAIR, {"log_target": True, "reduction": "batchmean"}),
    Case("PoissonNLLLoss", (), (between(0.1, 2, 4, 6), between(0, 5, 4, 6)), {"log_input": False, "full": True}),
    *[Case("GaussianNLLLoss", (), (V, V, between(0.1, 2, *V)), {"full": full}) for full in (False, True)],
    *[Case("CrossEntropyLoss", (), (V, classes(4, 6)), options) for options in (
        {}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.2}, {"ignore_index": 2}, {"weight": WEIGHTS},
        {"weight": WEIGHTS, "label_smoothing": 0.1})],
    Case("CrossEntropyLoss", (), (V, between(0, 1, *V))), Case("CrossEntropyLoss", (), ((2, 6, 3, 2), classes(12, 6).reshape(2, 3, 2)), {"weight": WEIGHTS}),
    *[Case("NLLLoss", (), (log_probabilities(*V), classes(4, 6)), options) for options in ({}, {"weight": WEIGHTS}, {"reduction": "none", "ignore_index": 1})],
    *[Case("BCELoss", (), (between(0.05, 0.95, *V), between(0, 1, *V)), options) for options in ({}, {"weight": WEIGHTS}, {"reduction": "sum"})],
    *[Case("BCEWithLogitsLoss", (), (V, between(0, 1, *V)), options) for options in ({}, {"pos_weight": WEIGHTS}, {"weight": WEIGHTS, "reduction": "none"})],
    Case("CTCLoss", (), (log_probabilities(12, 2, 6), classes(8, 5).reshape(2, 4) + 1, np.array([12, 10]), np.array([4, 3]))),
    Case("HingeEmbeddingLoss", (), (V, signs(*V))), Case("HingeEmbeddingLoss", (0.2,), (V, signs(*V))), Case("SoftMarginLoss", (), (V, signs(*V))),
    Case("MultiLabelMarginLoss", (), (V, np.array([[3, 0, -1, 0, 1, 2], [1, -1, 0, 0, 0, 0], [5, 4, 3, 2, 1, 0], [-1, 0, 0, 0, 0, 0]]))),
    *[Case("MultiLabelSoftMarginLoss", (), (V, between(0, 1, *V).round()), options) for options in ({}, {"weight": WEIGHTS})],
    Case("MultiMarginLoss", (), (V, classes(4, 6))), Case("MultiMarginLoss", (2, 0.7), (V, classes(4, 6)), {"weight": WEIGHTS, "reduction": "sum"}),
    Case("MarginRankingLoss", (), ((5,), (5,), signs(5))), Case("MarginRankingLoss", (0.3,), ((5,), (5,), signs(5)), {"reduction": "none"}),
    Case("CosineEmbeddingLoss", (), (V, V, signs(4))), Case("CosineEmbeddingLoss", (0.2,), (V, V, signs(4))),
    Case("TripletMarginLoss", (), (V, V, V)), Case("TripletMarginLoss", (0.5, 1.0), (V, V, V), {"swap": True}),
    Case("TripletMarginWithDistanceLoss", (), (V, V, V)), Case("TripletMarginWithDistanceLoss", (), (V, V, V), {"margin": 0.5, "swap": True}),
    # attention and transformers
    *[Case("MultiheadAttention", (8, 2), ((5, 3, 8), (7, 3, 8), (7, 3, 8)), {}, call) for call in (
        {}, {"need_weights": False}, {"average_attn_weights": False})],
    Case("MultiheadAttention", (8, 4), ((3, 5, 8), (3, 7, 8), (3, 7, 8)), {"batch_first": True, "bias": False}),
    Case("MultiheadAttention", (8, 2), ((5, 3, 8), (7, 3, 6), (7, 3, 4)), {"kdim": 6, "vdim": 4}),
    Case("MultiheadAttention", (8, 2), ((5, 8), (7, 8), (7, 8))),
    Case("MultiheadAttention", (8, 2), ((5, 3, 8), (7, 3, 8), (7, 3, 8)), {"add_bias_kv": True, "add_zero_attn": True}),
    Case("MultiheadAttention", (8, 2), ((5, 3, 8),) * 3, {"add_bias_kv": True}, {"attn_mask": np.triu(np.ones((5, 5), bool), 1)}),
    Case("MultiheadAttention", (8, 2), ((5, 3, 8),) * 3, {}, {"attn_mask": between(-1, 1, 5, 5), "need_weights": False}),
    Case("MultiheadAttention", (8, 2), ((5, 3, 8),) * 3, {}, {"key_padding_mask": np.arange(5) >= np.array([[5], [3], [4]])}),
    Case("MultiheadAttention", (8, 2), ((5, 3, 8),) * 3, {},
         {"attn_mask": np.triu(np.full((5, 5), -np.inf, np.float32), 1), "is_causal": True, "need_weights": False}),
    *[Case("TransformerEncoderLayer", (8, 2, 16, 0.0), ((5, 3, 8),), options) for options in (
        {}, {"norm_first": True}, {"activation": "gelu", "batch_first": True}, {"bias": False})],
    Case("TransformerEncoderLayer", (8, 2, 16, 0.0), ((5, 3, 8),), {}, {"src_key_padding_mask": np.arange(5) >= np.array([[5], [3], [4]])}),
    *[Case("TransformerDecoderLayer", (8, 2, 16, 0.0), ((5, 3, 8), (7, 3, 8)), options) for options in ({}, {"norm_first": True})],
    Case("Transformer", (8, 2, 1, 2, 16, 0.0), ((5, 3, 8), (4, 3, 8)), {}, {"tgt_mask": np.triu(np.full((4, 4), -np.inf, np.float32), 1)}),
]
ELSEWHERE = {"Module", "Sequential", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict", "TransformerEncoder", "TransformerDecoder",
             "NonDynamicallyQuantizableLinear"}
CASES = [case for case in CASES if hasattr(nn, case.name)]


def ours(value: Any) -> Any:
    return cltorch.tensor(value, device="cuda") if isinstance(value, np.ndarray) else value


def theirs(value: Any) -> Any:
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def host(t: Any) -> np.ndarray:
    return t.detach().cpu().numpy()


def arrays(case: Case) -> list[np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(str(case).encode()))
    return [x if isinstance(x, np.ndarray) else rng.uniform(-2, 2, x).astype(np.float32) for x in case.inputs]


def build(case: Case) -> tuple[Any, Any]:
    """Our layer and PyTorch's, with PyTorch's initial weights made less regular."""
    torch.manual_seed(zlib.crc32(str(case).encode()))
    make: list[Callable] = [ours, theirs]
    a, b = (getattr(module, case.name)(*case.args, **{k: convert(v) for k, v in case.options.items()})
            for module, convert in zip((nn, torch.nn), make, strict=True))
    with torch.no_grad():
        for p in b.parameters():
            p.add_(torch.rand_like(p) * 0.3)
    a = a.to("cuda")
    a.load_state_dict({k: cltorch.from_numpy(v.numpy().copy()) for k, v in b.state_dict().items()})
    return a, b


def forward(layer: Any, case: Case, convert: Callable) -> tuple[list, list]:
    """Inputs (leaves where they are floats) and the flattened results."""
    inputs = [convert(x) for x in arrays(case)]
    leaves = [x.requires_grad_() for i, x in enumerate(inputs) if x.is_floating_point() and (i == 0 or isinstance(case.inputs[i], tuple))]
    passed = [x * 1 if case.options.get("inplace") and x.is_floating_point() else x for x in inputs]
    result = layer(*passed, **{k: convert(v) for k, v in case.call.items()})
    return leaves, [r for r in (result if isinstance(result, tuple) else (result,)) if r is not None]


def compare(case: Case, train: bool) -> None:
    a, b = build(case)
    a.train(train)
    b.train(train)
    (leaves, got), (their_leaves, wanted) = forward(a, case, ours), forward(b, case, theirs)
    assert len(got) == len(wanted)
    tolerance = dict(rtol=1e-4, atol=2e-5)
    for x, y in zip(got, wanted, strict=True):
        assert tuple(x.shape) == tuple(y.shape)
        assert str(x.dtype) == str(y.dtype)
        assert_close(x, host(y), **tolerance)
    rng = np.random.default_rng(1)
    for x, y in zip(got, wanted, strict=True):
        if y.requires_grad:
            g = rng.uniform(-1, 1, tuple(y.shape)).astype(np.float32)
            x.backward(ours(g), retain_graph=True)
            y.backward(theirs(g), retain_graph=True)
    named = dict(a.named_parameters())
    pairs = [*zip(leaves, their_leaves, strict=True), *((named[name], p) for name, p in b.named_parameters())]
    for x, y in pairs:
        assert (x.grad is None) == (y.grad is None)
        if y.grad is not None:
            assert_close(x.grad, host(y.grad), **tolerance)
    buffers = dict(a.named_buffers())
    assert set(buffers) == {name for name, _ in b.named_buffers()}
    for name, buffer in b.named_buffers():
        assert_close(buffers[name], host(buffer), **tolerance)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:.*padding='same' with even kernel", "ignore:Converting mask",
                            "ignore:reduction")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_evaluation_matches_torch(case: Case) -> None:
    compare(case, train=False)


@pytest.mark.parametrize("case", [c for c in CASES if not c.random and ("Norm" in c.name or "Dropout" in c.name)], ids=str)
def test_training_matches_torch(case: Case) -> None:
    compare(case, train=True)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_repr_and_keys_match_torch(case: Case) -> None:
    a, b = build(case)
    assert repr(a) == repr(b)
    assert list(a.state_dict()) == list(b.state_dict())
    assert [n for n, _ in a.named_modules()] == [n for n, _ in b.named_modules()]
    mine, reference = a.state_dict()._metadata, b.state_dict()._metadata
    assert mine == reference


@pytest.mark.parametrize("name", sorted(set(nn.modules.__all__) - {"NonDynamicallyQuantizableLinear"}))
def test_signatures_match_torch(name: str) -> None:
    mine, reference = (inspect.signature(getattr(module, name).__init__).parameters.values() for module in (nn, torch.nn))

    def default(value: Any) -> Any:
        return value.__name__ if callable(value) else value

    if name not in ("Identity", "Module", "Sequential"):
        assert [(p.name, default(p.default)) for p in mine] == [(p.name, default(p.default)) for p in reference]
    call, wanted = (inspect.signature(getattr(module, name).forward) for module in (nn, torch.nn))
    if issubclass(getattr(nn, name), nn.Module) and "forward" in vars(getattr(torch.nn, name)) and name != "Module":
        assert [p.name for p in call.parameters.values()] == [p.name for p in wanted.parameters.values()]


def test_every_layer_has_a_case() -> None:
    assert set(nn.modules.__all__) == ELSEWHERE | {case.name for case in CASES}


def test_transformer_stacks_match_torch() -> None:
    def make(module: Any) -> tuple[Any, Any]:
        norm = module.LayerNorm(8)
        encoder = module.TransformerEncoder(module.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2, norm)
        decoder = module.TransformerDecoder(module.TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True), 2)
        return encoder, decoder

    (encoder, decoder), (their_encoder, their_decoder) = make(nn), make(torch.nn)
    assert repr(encoder) == repr(their_encoder)
    assert repr(decoder) == repr(their_decoder)
    for a, b in ((encoder, their_encoder), (decoder, their_decoder)):
        a.load_state_dict({k: cltorch.from_numpy(v.numpy().copy()) for k, v in b.state_dict().items()})
    src, tgt = between(-1, 1, 3, 5, 8), between(-1, 1, 3, 4, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    got = decoder(cltorch.tensor(tgt), encoder(cltorch.tensor(src)), tgt_mask=mask, tgt_is_causal=True)
    their_mask = torch.nn.Transformer.generate_square_subsequent_mask(4)
    wanted = their_decoder(torch.from_numpy(tgt), their_encoder(torch.from_numpy(src)), tgt_mask=their_mask, tgt_is_causal=True)
    assert_close(mask, their_mask.numpy())
    assert_close(got, wanted.detach().numpy(), rtol=1e-4, atol=2e-5)


def test_containers_print_as_torchs() -> None:
    def make(m: Any, zeros: Any) -> Any:
        return m.Sequential(
            m.Linear(3, 4), m.ModuleList([m.ReLU(), m.ReLU(), m.Tanh(), m.Sequential(m.Linear(1, 1), m.ReLU())]),
            m.ModuleDict({"a": m.ReLU(), "b": m.Linear(1, 2)}),
            m.ParameterList([zeros(2, 3), 7]), m.Sequential(), m.ModuleList())

    assert repr(make(nn, cltorch.zeros)) == repr(make(torch.nn, torch.zeros))


def test_batch_norm_running_statistics_over_many_batches() -> None:
    a, b = nn.BatchNorm2d(4).to("cuda"), torch.nn.BatchNorm2d(4)
    for i in range(5):
        x = np.random.default_rng(i).normal(i, 1 + i, (3, 4, 5, 5)).astype(np.float32)
        a(ours(x))
        b(theirs(x))
    assert_close(a.running_mean, b.running_mean.numpy(), rtol=1e-4, atol=1e-5)
    assert_close(a.running_var, b.running_var.numpy(), rtol=1e-4, atol=1e-5)
    assert a.num_batches_tracked.item() == 5
    a.eval()
    b.eval()
    assert_close(a(ours(x)), b(theirs(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
