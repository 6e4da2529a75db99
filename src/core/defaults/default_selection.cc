// The table of the rule and nothing else decides by name: HACKING.md says how to add a family.
#include "winnow/core/default_selection.h"

#include <array>
#include <iterator>

#include "core/defaults/named_shapes.h"

namespace winnow {
namespace {

using enum LeftAlone;

// The sizes of a tensor that a row applies to.
enum class Sizes : uint8_t {
  kAny,
  kMatrix,   // two or more dimensions larger than 1
  kSquares,  // [1, ..., 1, n, n] of rank 3 or more
  kPairs,    // [2, n]
};

// The tensors beside it that a row asks for, of which one is enough.
enum class Beside : uint8_t {
  kAnything,  // it exists
  kCodes,     // it holds integers, packed values or small floats
  kRows,      // its rows (slices along one dimension) are as many as the tensor's values
};

// A row applies to a tensor if its name ends with `name`, at the beginning of a part ("a.b" has
// two) or, after '*', anywhere; if it has these sizes; and, if the row lists any, if one of
// `siblings` is there: `name` at the end of the tensor's name exchanged for it. The first row wins.
struct Row {
  std::string_view name;
  LeftAlone reason;
  Sizes sizes = Sizes::kAny;
  Beside beside = Beside::kAnything;
  std::array<std::string_view, 4> siblings = {};
};

constexpr Row companion(std::string_view name, std::array<std::string_view, 4> codes) {
  return {name, kQuantized, Sizes::kAny, Beside::kCodes, codes};
}

constexpr Row kTable[] = {
    // Quantized tensors. Codes are worth nothing without their scales.
    companion("scales", {"qweight", "weight", "codes"}),      // GPTQ, AWQ, MLX, AQLM, FLUTE
    companion("biases", {"weight"}),                          // MLX affine
    companion("qzeros", {"qweight"}),                         // GPTQ, AWQ: integers as a rule
    companion("zeros", {"qweight"}),                          //
    companion("scale", {"W_q", "weight"}),                    // HQQ
    companion("zero", {"W_q"}),                               // HQQ
    companion("codebooks", {"codes"}),                        // AQLM
    companion("tables2", {"weight"}),                         // FLUTE
    companion("SCB", {"weight"}),                             // bitsandbytes int8
    companion("*.absmax", {"*"}),                             // bitsandbytes nf4, fp4
    companion("*.nested_absmax", {"*"}),                      //
    companion("*.quant_map", {"*"}),                          //
    companion("*.nested_quant_map", {"*"}),                   //
    companion("*_scale", {"*", "*_packed", "*_qdata"}),       // compressed-tensors, torchao, FP8
    companion("*_scales", {"*", "*_packed", "*_blocks"}),     // EETQ, gpt-oss
    companion("*_scale_inv", {"*"}),                          // FP8 by blocks
    companion("*_scale_2", {"*"}),                            // ModelOpt's NVFP4
    companion("*_global_scale", {"*_packed"}),                // compressed-tensors' NVFP4
    companion("*_zero_point", {"*", "*_packed", "*_qdata"}),  // compressed-tensors, torchao
    companion("*._scale", {"*._data"}),                       // Quanto
    companion("*._shift", {"*._data"}),                       //

    // Magnitudes. One of them at 0 is a row at 0, whatever its direction.
    {"*_g", kMagnitude, Sizes::kAny, Beside::kRows, {"*_v"}},
    {"original0", kMagnitude, Sizes::kAny, Beside::kRows, {"original1"}},
    {"lora_magnitude_vector", kMagnitude},
    {"lora_magnitude_vector.weight", kMagnitude},
    {"dora_scale", kMagnitude},
    {"ia3_l", kMagnitude},
    {"boft_s", kMagnitude},

    // Masks, of attention and of torch.nn.utils.prune. A bias of GPT-2's is one by its shape.
    {"bias", kMask, Sizes::kSquares},
    {"mask", kMask},
    {"*_mask", kMask},
    {"attn_bias", kMask, Sizes::kSquares},
    {"tril", kMask},

    // Positions and angles that a formula gives.
    {"cos_cached", kPositions},
    {"sin_cached", kPositions},
    {"cos_cache", kPositions},
    {"*sin_cache", kPositions},
    {"freqs_cis", kPositions},
    {"freqs_cos", kPositions},
    {"freqs_sin", kPositions},
    {"*inv_freq", kPositions},
    {"rope.freqs", kPositions},
    {"rotary_emb.freqs", kPositions},
    {"position_ids", kPositions},
    {"*attn.embed_positions", kPositions},                // GPT-J, CodeGen
    {"embed_positions.weights", kPositions},              // M2M100, XGLM, Speech2Text
    {"pe", kPositions},                                   // the tutorial's sines and cosines
    {"positional_embedding", kPositions, Sizes::kPairs},  // SAM; CLIP's is trained and has rows
    {"positional_encoding_gaussian_matrix", kPositions},  // SAM's first name for it
    // VideoPrism; that of BLIP, which has no such neighbour, is trained.
    {"position_embedding", kPositions, Sizes::kAny, Beside::kAnything, {"cls_emb"}},
    {"pos_idx_to_embed", kPositions},       // Florence 2
    {"relative_coords_table", kPositions},  // Swin V2
    {"alibi", kPositions},
    {"alibi_slopes", kPositions},

    // Statistics that a normalization has measured; the vectors of spectral_norm's power iteration.
    {"running_mean", kStatistics},
    {"running_var", kStatistics},
    {"norm_mean", kStatistics},  // RADIO: of its pixels
    {"norm_std", kStatistics},
    {"pixel_mean", kStatistics},
    {"pixel_std", kStatistics},
    {"*_u", kStatistics, Sizes::kAny, Beside::kAnything, {"*_orig"}},
    {"*_v", kStatistics, Sizes::kAny, Beside::kAnything, {"*_orig"}},
    {"_u", kStatistics, Sizes::kAny, Beside::kAnything, {"_v"}},
    {"_v", kStatistics, Sizes::kAny, Beside::kAnything, {"_u"}},

    // Codebooks that are running averages: EnCodec, Bark, X-Codec, Mimi, vector-quantize-pytorch.
    {"*codebook.embed", kCodebook},
    {"*codebook.embed_avg", kCodebook},
    {"*codebook.embed_sum", kCodebook},
    {"*codebook.cluster_size", kCodebook},
    {"*codebook.cluster_usage", kCodebook},

    // Constants.
    {"slope_rate", kConstant},  // MiniMax, and the three below
    {"query_decay", kConstant},
    {"key_decay", kConstant},
    {"diagonal_decay", kConstant},
    {"weight_integer", kConstant, Sizes::kAny, Beside::kAnything, {"weight"}},  // I-BERT
    {"*dct.transform.transform.weights", kConstant},                            // CSATv2
    {"mel_scale.fb", kConstant},                                                // torchaudio
    {"featurizer.fb", kConstant},                                               // NeMo
    {"mel_filters", kConstant},
    {"mel_basis", kConstant},
    {"dct_mat", kConstant},               // torchaudio's MFCC
    {"forward_basis", kConstant},         // Tacotron 2, WaveGlow
    {"inverse_basis", kConstant},         //
    {"forward_basis_buffer", kConstant},  // Silero VAD
    {"resample_filter", kConstant},       // StyleGAN 2 and 3, EDM
    {"noise_const", kConstant},           //
    {"blur.kernel", kConstant},           //
    {"anchors", kConstant},               // YOLOv5
    {"anchor_grid", kConstant},           //
    {"*.0.base", kConstant, Sizes::kAny, Beside::kAnything, {"*.original"}},  // torch's orthogonal

    // Projections that are drawn once and never trained: of peft's adapters, and one more.
    {"vera_A", kFrozen},
    {"vera_B", kFrozen},
    {"randlora_A", kFrozen},
    {"randlora_B", kFrozen},
    {"projection_matrix", kFrozen},  // Performer

    // A zero of these is another value where they are used.
    {"*.original", kZeroIsNotZero, Sizes::kAny, Beside::kAnything, {"*.0.base"}},  // orthogonal
    {"vblora_logits_A", kZeroIsNotZero},
    {"vblora_logits_B", kZeroIsNotZero},
    {"A_log", kZeroIsNotZero},       // Mamba's decays are exponentials, and the two below
    {"log_A_real", kZeroIsNotZero},  // S4
    {"time_decay", kZeroIsNotZero},  // RWKV

    // Biases of more than one row: of experts (gpt-oss), of attention heads.
    {"bias", kBias, Sizes::kMatrix},
    {"*_bias", kBias, Sizes::kMatrix},
    {"biases", kBias},
    {"*_biases", kBias},
    {"pos_bias_u", kBias},
    {"pos_bias_v", kBias},
};

// Tensors whose norm is divided by, and what stands beside them.
struct Division {
  std::string_view name, sibling;
  bool by_rows;  // by the norm of each row, whose magnitude the sibling holds; else by one of all
};

constexpr Division kDivisions[] = {
    {"*_v", "*_g", true},              // torch.nn.utils.weight_norm
    {"original1", "original0", true},  // torch.nn.utils.parametrizations.weight_norm
    {"*_orig", "*_u", false},          // torch.nn.utils.spectral_norm
    {"*.original", "*.0._u", false},   // torch.nn.utils.parametrizations.spectral_norm
};

bool has_sizes(const TensorFacts& tensor, Sizes sizes) {
  const std::span<const uint64_t> shape = tensor.shape;
  switch (sizes) {
    case Sizes::kAny:
      return true;
    case Sizes::kMatrix:
      return large_dimensions(shape) >= 2;
    case Sizes::kSquares:
      return shape.size() >= 3 && large_dimensions(shape) == 2 && shape.back() > 1 &&
             shape.back() == shape[shape.size() - 2];
    case Sizes::kPairs:
      return shape.size() == 2 && shape[0] == 2;
  }
  return false;
}

// The tensors of a file or model, and the rule.
class Selection {
 public:
  explicit Selection(std::span<const TensorFacts> tensors) : named_(tensors) {}

  DefaultChoice choice(const TensorFacts& tensor) const {
    if (const auto reason = reason_of(tensor)) return {reason, reason, std::nullopt};
    for (const Division& division : kDivisions) {
      const TensorFacts* sibling = named_.sibling(tensor.name, division.name, division.sibling);
      if (sibling == nullptr) continue;
      if (!division.by_rows) return {std::nullopt, std::nullopt, whole(tensor.shape)};
      const auto rows = rows_of(tensor.shape, sibling->shape);
      if (rows) return {std::nullopt, kDirection, rows};
    }
    return {};
  }

 private:
  std::optional<LeftAlone> reason_of(const TensorFacts& tensor) const {
    if (!is_prunable(tensor.dtype)) return kDType;
    if (is_empty(tensor.shape)) return kEmpty;
    for (const Row& row : kTable) {
      if (has_sizes(tensor, row.sizes) && ends_as(tensor.name, row.name) && stands(tensor, row)) {
        return row.reason;
      }
    }
    if (large_dimensions(tensor.shape) < 2) return kVector;
    return std::nullopt;
  }

  bool stands(const TensorFacts& tensor, const Row& row) const {
    if (row.siblings[0].empty()) return true;
    for (const std::string_view name : row.siblings) {
      const TensorFacts* sibling =
          name.empty() ? nullptr : named_.sibling(tensor.name, row.name, name);
      if (sibling != nullptr && fits(tensor, *sibling, row.beside)) return true;
    }
    return false;
  }

  static bool fits(const TensorFacts& tensor, const TensorFacts& sibling, Beside beside) {
    if (beside == Beside::kCodes) return holds_codes(sibling.dtype);
    if (beside == Beside::kRows) return rows_of(sibling.shape, tensor.shape).has_value();
    return true;
  }

  NamedShapes named_;
};

}  // namespace

std::string_view left_alone_text(LeftAlone reason) noexcept {
  switch (reason) {
    case kDType:
      return "dtype cannot be pruned";
    case kEmpty:
      return "no elements";
    case kQuantized:
      return "belongs to the quantized tensor beside it";
    case kMagnitude:
      return "a magnitude, which multiplies whole rows";
    case kMask:
      return "a mask";
    case kPositions:
      return "a table of positions that is computed, not trained";
    case kStatistics:
      return "statistics of a normalization";
    case kCodebook:
      return "a codebook that is averaged, not trained";
    case kConstant:
      return "a constant of the model";
    case kFrozen:
      return "a frozen random projection";
    case kZeroIsNotZero:
      return "its zeros are no zeros of the weight";
    case kBias:
      return "a bias";
    case kDirection:
      return "a direction of weight_norm: a row of zeros would become NaN";
    case kVector:
      return "fewer than 2 dimensions larger than 1";
  }
  return "";
}

std::string_view left_alone_code(LeftAlone reason) noexcept {
  constexpr std::string_view kCodes[] = {
      "dtype",    "empty",    "quantized", "magnitude",        "mask", "positions", "statistics",
      "codebook", "constant", "frozen",    "zero_is_not_zero", "bias", "direction", "vector"};
  static_assert(std::size(kCodes) == static_cast<size_t>(kVector) + 1);
  return kCodes[static_cast<size_t>(reason)];
}

bool can_be_forced(LeftAlone reason) noexcept { return reason != kDType && reason != kEmpty; }

std::vector<DefaultChoice> default_selection(std::span<const TensorFacts> tensors) {
  const Selection selection(tensors);
  std::vector<DefaultChoice> choices;
  choices.reserve(tensors.size());
  for (const TensorFacts& tensor : tensors) choices.push_back(selection.choice(tensor));
  return choices;
}

}  // namespace winnow
