#include "winnow/core/default_selection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace winnow {
namespace {

// A tensor of a family, and what the rule is to say of it: the code of its reason, "" where files
// prune it, "guarded" where they prune it and keep slices whole.
struct Line {
  std::string name;
  DType dtype;
  std::vector<uint64_t> shape;
  std::string expected;
};

constexpr DType F32 = DType::kF32, F16 = DType::kF16, BF16 = DType::kBF16, I8 = DType::kI8,
                U8 = DType::kU8, I32 = DType::kI32, U32 = DType::kU32, I64 = DType::kI64,
                F8 = DType::kF8E4M3;

std::string said(const DefaultChoice& choice) {
  if (choice.in_file) return std::string(left_alone_code(*choice.in_file));
  return choice.guard ? "guarded" : "";
}

std::vector<DefaultChoice> choices_of(const std::vector<Line>& family) {
  std::vector<TensorFacts> facts;
  for (const Line& line : family) facts.push_back({line.name, line.dtype, line.shape});
  return default_selection(facts);
}

// All of a layer or model: what stands beside a tensor matters.
void expect_family(const std::vector<Line>& family) {
  const std::vector<DefaultChoice> choices = choices_of(family);
  ASSERT_EQ(choices.size(), family.size());
  for (size_t i = 0; i < family.size(); ++i) {
    EXPECT_EQ(said(choices[i]), family[i].expected) << family[i].name;
    EXPECT_TRUE(!choices[i].in_file || choices[i].in_training == choices[i].in_file);
  }
}

// A tensor that stands alone in its model but for a plain weight.
void expect_alone(const std::string& name, std::vector<uint64_t> shape, const std::string& expected,
                  DType dtype = F32) {
  expect_family({{"fc.weight", F32, {8, 8}, ""}, {name, dtype, std::move(shape), expected}});
}

// Quantized checkpoints, as their packages write a Linear of [128, 128] in groups of 32.

TEST(DefaultSelection, LeavesGptqAlone) {
  expect_family({{"q.qweight", I32, {16, 128}, "dtype"},
                 {"q.qzeros", I32, {4, 16}, "dtype"},
                 {"q.scales", F16, {4, 128}, "quantized"},
                 {"q.g_idx", I32, {128}, "dtype"},
                 {"q.bias", F16, {128}, "vector"},
                 {"lm_head.weight", F16, {128, 128}, ""}});
}

TEST(DefaultSelection, LeavesGptqWithZerosOfFloatsAlone) {
  expect_family({{"q.qweight", I32, {16, 128}, "dtype"},
                 {"q.qzeros", F16, {4, 128}, "quantized"},
                 {"q.scales", F16, {4, 128}, "quantized"}});
  expect_family({{"q.qweight", I32, {16, 128}, "dtype"}, {"q.zeros", F16, {4, 128}, "quantized"}});
}

TEST(DefaultSelection, LeavesAwqAlone) {
  expect_family({{"q.qweight", I32, {128, 16}, "dtype"},
                 {"q.qzeros", I32, {4, 16}, "dtype"},
                 {"q.scales", F16, {4, 128}, "quantized"}});
}

TEST(DefaultSelection, LeavesCompressedTensorsAlone) {
  expect_family({{"q.weight_packed", I32, {128, 16}, "dtype"},
                 {"q.weight_scale", BF16, {128, 4}, "quantized"},
                 {"q.weight_zero_point", I32, {16, 4}, "dtype"},
                 {"q.weight_shape", I64, {2}, "dtype"},
                 {"q.weight_g_idx", I32, {128}, "dtype"}});
  // Zero points of floats, and those of unpacked codes.
  expect_family({{"q.weight_packed", I32, {128, 16}, "dtype"},
                 {"q.weight_zero_point", BF16, {128, 4}, "quantized"}});
  expect_family({{"q.weight", I8, {128, 128}, "dtype"},
                 {"q.weight_zero_point", BF16, {128, 4}, "quantized"}});
  // INT8 by channel, FP8 by blocks, NVFP4.
  expect_family({{"q.weight_packed", I32, {128, 32}, "dtype"},
                 {"q.weight_scale", BF16, {128, 1}, "quantized"}});
  expect_family(
      {{"q.weight", F8, {256, 256}, "dtype"}, {"q.weight_scale", BF16, {2, 2}, "quantized"}});
  expect_family({{"q.weight_packed", U8, {128, 64}, "dtype"},
                 {"q.weight_scale", F8, {128, 8}, "dtype"},
                 {"q.weight_global_scale", F32, {1}, "quantized"}});
}

TEST(DefaultSelection, LeavesBitsandbytesAlone) {
  expect_family({{"q.weight", U8, {8192, 1}, "dtype"},
                 {"q.weight.absmax", U8, {256}, "dtype"},
                 {"q.weight.quant_map", F32, {16}, "quantized"},
                 {"q.weight.nested_absmax", F32, {1}, "quantized"},
                 {"q.weight.nested_quant_map", F32, {256}, "quantized"},
                 {"q.weight.quant_state.bitsandbytes__nf4", U8, {120}, "dtype"}});
  expect_family(
      {{"q.weight", U8, {8192, 1}, "dtype"}, {"q.weight.absmax", F32, {256}, "quantized"}});
  expect_family({{"q.weight", I8, {128, 128}, "dtype"},
                 {"q.SCB", F32, {128}, "quantized"},
                 {"q.weight_format", U8, {}, "dtype"}});
}

TEST(DefaultSelection, LeavesTorchaoAlone) {
  for (const DType codes : {I8, F8}) {
    expect_family({{"q._weight_qdata", codes, {128, 128}, "dtype"},
                   {"q._weight_scale", F32, {128, 1}, "quantized"},
                   {"q._weight_zero_point", I8, {128, 1}, "dtype"}});
  }
  expect_family({{"q._weight_qdata", I8, {128, 128}, "dtype"},
                 {"q._weight_scale", BF16, {128, 4}, "quantized"},
                 {"q._weight_zero_point", BF16, {128, 4}, "quantized"}});
}

TEST(DefaultSelection, LeavesMlxAlone) {
  for (const DType dtype : {F32, F16, BF16}) {
    expect_family({{"q.weight", U32, {128, 16}, "dtype"},
                   {"q.scales", dtype, {128, 4}, "quantized"},
                   {"q.biases", dtype, {128, 4}, "quantized"},
                   {"norm.weight", dtype, {128}, "vector"}});
  }
}

TEST(DefaultSelection, LeavesFp8ByBlocksAlone) {
  expect_family({{"q.weight", F8, {256, 256}, "dtype"},
                 {"q.weight_scale_inv", F32, {2, 2}, "quantized"},
                 {"embed_tokens.weight", BF16, {512, 256}, ""}});
  expect_family({{"q.weight", F8, {256, 256}, "dtype"},
                 {"q.weight_scale_inv", DType::kF8E8M0, {2, 2}, "dtype"}});
  expect_family({{"mlp.experts.down_proj", F8, {4, 256, 256}, "dtype"},
                 {"mlp.experts.down_proj_scale_inv", F32, {4, 2, 2}, "quantized"}});
  expect_family({{"q.weight", U8, {128, 64}, "dtype"},
                 {"q.weight_scale", F8, {128, 8}, "dtype"},
                 {"q.weight_scale_2", F32, {}, "quantized"}});
}

TEST(DefaultSelection, LeavesGptOssAlone) {
  expect_family({{"mlp.experts.gate_up_proj_blocks", U8, {4, 64, 4, 16}, "dtype"},
                 {"mlp.experts.gate_up_proj_scales", U8, {4, 64, 4}, "dtype"},
                 {"mlp.experts.gate_up_proj_bias", BF16, {4, 64}, "bias"},
                 {"mlp.experts.down_proj_blocks", U8, {4, 32, 4, 16}, "dtype"},
                 {"mlp.experts.down_proj_scales", F16, {4, 32, 4}, "quantized"},
                 {"mlp.experts.down_proj_bias", BF16, {4, 32}, "bias"},
                 {"mlp.router.weight", BF16, {4, 32}, ""},
                 {"mlp.router.bias", BF16, {4}, "vector"}});
  // Not quantized: experts without ".weight", and their biases.
  expect_family({{"mlp.experts.gate_up_proj", BF16, {4, 32, 64}, ""},
                 {"mlp.experts.gate_up_proj_bias", BF16, {4, 64}, "bias"},
                 {"mlp.experts.down_proj", BF16, {4, 32, 32}, ""},
                 {"mlp.experts.down_proj_bias", BF16, {4, 32}, "bias"}});
}

TEST(DefaultSelection, LeavesOtherQuantizedLayersAlone) {
  // HQQ; Quanto; EETQ; AQLM; FLUTE; torchrec, whose scales stand inside the rows.
  expect_family({{"q.W_q", U8, {64, 128}, "dtype"},
                 {"q.scale", F16, {128, 4}, "quantized"},
                 {"q.zero", F16, {128, 4}, "quantized"}});
  expect_family({{"q.weight", I8, {128, 128}, "dtype"}, {"q.scale", F16, {128, 4}, "quantized"}});
  expect_family({{"q.weight._data", I8, {128, 128}, "dtype"},
                 {"q.weight._scale", F16, {128, 4}, "quantized"},
                 {"q.weight._shift", F16, {128, 4}, "quantized"}});
  expect_family(
      {{"q.weight", I8, {128, 128}, "dtype"}, {"q.weight_scales", F16, {128, 4}, "quantized"}});
  expect_family({{"q.weight_packed", I32, {128, 16}, "dtype"},
                 {"q.weight_scales", F16, {128, 4}, "quantized"}});
  expect_family({{"q.codes", I8, {128, 16, 2}, "dtype"},
                 {"q.codebooks", F16, {2, 256, 1, 8}, "quantized"},
                 {"q.scales", F16, {128, 1, 1, 1}, "quantized"}});
  expect_family({{"q.weight", DType::kI16, {32, 128}, "dtype"},
                 {"q.scales", F16, {128, 4}, "quantized"},
                 {"q.tables2", F32, {16, 16, 2}, "quantized"}});
  expect_family({{"embedding_bags.users.weight", U8, {1000, 80}, "dtype"},
                 {"embedding_bags.items.weight", F32, {1000, 64}, ""}});
}

TEST(DefaultSelection, KnowsCompanionsByWhatStandsBesideThem) {
  // The same names in models of floats, and beside codes of another stem.
  for (const char* name : {"scales", "zeros", "scale", "zero", "codebooks", "tables2",
                           "weight_scale", "weight_scales", "weight_scale_inv", "weight_zero_point",
                           "weight._scale", "weight._shift", "weight.absmax"}) {
    expect_family({{"a.weight", F32, {8, 8}, ""}, {std::string("a.") + name, F32, {8, 4}, ""}});
    expect_family({{"b.weight", I8, {8, 8}, "dtype"},
                   {"b.qweight", I32, {8, 8}, "dtype"},
                   {std::string("a.") + name, F32, {8, 4}, ""}});
  }
  // A mask of bytes is not a quantized weight.
  expect_family({{"a.weight", DType::kBool, {8, 8}, "dtype"}, {"a.scales", F32, {8, 4}, ""}});
  // Names without a stem, as in the file of one layer.
  expect_family({{"weight", I8, {8, 8}, "dtype"}, {"scales", F32, {8, 4}, "quantized"}});
}

// What multiplies and what is divided by.

TEST(DefaultSelection, KnowsWeightNorm) {
  expect_family({{"conv.bias", F32, {32}, "vector"},
                 {"conv.weight_g", F32, {32, 1, 1}, "magnitude"},
                 {"conv.weight_v", F32, {32, 1, 7}, "guarded"}});
  expect_family({{"conv.parametrizations.weight.original0", F32, {32, 1, 1}, "magnitude"},
                 {"conv.parametrizations.weight.original1", F32, {32, 16, 7}, "guarded"}});
  // Wav2Vec 2 scales the positions of its kernel.
  expect_family(
      {{"pos_conv_embed.conv.parametrizations.weight.original0", F32, {1, 1, 128}, "magnitude"},
       {"pos_conv_embed.conv.parametrizations.weight.original1", F32, {768, 48, 128}, "guarded"}});
  expect_family({{"lstm.weight_ih_l0_g", F32, {64, 1}, "magnitude"},
                 {"lstm.weight_ih_l0_v", F32, {64, 16}, "guarded"},
                 {"lstm.weight_hh_l0", F32, {64, 16}, ""}});
}

std::optional<SliceShape> guard_of(std::vector<uint64_t> direction,
                                   std::vector<uint64_t> magnitude) {
  return choices_of({{"weight_v", F32, std::move(direction), ""},
                     {"weight_g", F32, std::move(magnitude), ""}})[0]
      .guard;
}

TEST(DefaultSelection, GuardsTheSlicesThatTheMagnitudeScales) {
  EXPECT_EQ(guard_of({4, 3, 2}, {4, 1, 1}), (SliceShape{1, 4, 6}));
  EXPECT_EQ(guard_of({4, 3, 2}, {1, 3, 1}), (SliceShape{4, 3, 2}));
  EXPECT_EQ(guard_of({4, 3, 2}, {1, 1, 2}), (SliceShape{12, 2, 1}));
  EXPECT_EQ(guard_of({4, 3, 2}, {}), (SliceShape{1, 1, 24})) << "one norm of all: dim=None";
  EXPECT_EQ(guard_of({4, 3, 2}, {1}), (SliceShape{1, 1, 24}));
  EXPECT_EQ(guard_of({1, 3, 2}, {1, 1, 1}), (SliceShape{1, 1, 6}));
  EXPECT_EQ(guard_of({4, 3}, {3}), std::nullopt);
  EXPECT_EQ(guard_of({4, 3}, {4, 3}), std::nullopt);
  EXPECT_EQ(guard_of({4, 3}, {3, 1}), std::nullopt);
  EXPECT_EQ(guard_of({4, 3}, {0, 1}), std::nullopt);
}

TEST(DefaultSelection, TwoTensorsCalledGAndVAreNoWeightNorm) {
  expect_family({{"lora.q_g", F32, {8, 8}, ""}, {"lora.q_v", F32, {8, 8}, ""}});
  expect_family({{"p.original0", F32, {8, 8}, ""}, {"p.original1", F32, {8, 8}, ""}});
}

TEST(DefaultSelection, LeavesDirectionsAloneInTraining) {
  const auto choices = choices_of({{"weight_v", F32, {4, 3}, ""}, {"weight_g", F32, {4, 1}, ""}});
  EXPECT_EQ(choices[0].in_file, std::nullopt);
  EXPECT_EQ(choices[0].in_training, LeftAlone::kDirection);
  EXPECT_EQ(choices[1].in_training, LeftAlone::kMagnitude);
}

TEST(DefaultSelection, KnowsSpectralNorm) {
  expect_family({{"fc.weight_orig", F32, {32, 16}, "guarded"},
                 {"fc.weight_u", F32, {32}, "statistics"},
                 {"fc.weight_v", F32, {16}, "statistics"}});
  expect_family({{"fc.parametrizations.weight.original", F32, {32, 16}, "guarded"},
                 {"fc.parametrizations.weight.0._u", F32, {32}, "statistics"},
                 {"fc.parametrizations.weight.0._v", F32, {16}, "statistics"}});
  // Its norm is one of all values: a row of zeros is a row of zeros.
  const auto choices = choices_of({{"weight_orig", F32, {4, 3}, ""}, {"weight_u", F32, {4}, ""}});
  EXPECT_EQ(choices[0].guard, (SliceShape{1, 1, 12}));
  EXPECT_EQ(choices[0].in_training, std::nullopt);
}

TEST(DefaultSelection, KnowsOtherParametrizations) {
  expect_family({{"fc.parametrizations.weight.original", F32, {16, 16}, "zero_is_not_zero"},
                 {"fc.parametrizations.weight.0.base", F32, {16, 16}, "constant"}});
  expect_family({{"fc.parametrizations.weight.original", F32, {16, 16}, ""},
                 {"fc.parametrizations.weight.0.mask", F32, {16, 16}, "mask"}});
  expect_family({{"fc.weight_orig", F32, {16, 16}, ""}, {"fc.weight_mask", F32, {16, 16}, "mask"}});
}

// Adapters.

TEST(DefaultSelection, KnowsPeft) {
  const std::string at = "base_model.model.q_proj.";
  expect_family({{at + "lora_A.weight", F32, {8, 64}, ""},
                 {at + "lora_B.weight", F32, {64, 8}, ""},
                 {at + "lora_embedding_A", F32, {8, 512}, ""},
                 {at + "lora_embedding_B", F32, {64, 8}, ""},
                 {at + "lora_magnitude_vector", F32, {64}, "magnitude"},
                 {at + "base_layer.weight", F32, {512, 64}, ""}});
  expect_alone(at + "lora_magnitude_vector.weight", {1, 64, 1, 1}, "magnitude");
  expect_alone(at + "hada_w1_a", {64, 8}, "");
  expect_alone(at + "lokr_w2_a", {64, 8}, "");
  expect_alone(at + "ia3_l", {64, 1}, "magnitude");
  expect_alone(at + "boft_s", {64, 1}, "magnitude");
  expect_alone(at + "boft_R", {1, 8, 8, 8}, "");
  expect_alone(at + "oft_R.weight", {8, 28}, "");
  expect_alone("base_model.vera_A", {64, 512}, "frozen");
  expect_alone("base_model.vera_B", {512, 64}, "frozen");
  expect_alone(at + "vera_lambda_d", {64}, "vector");
  expect_alone("base_model.randlora_A", {32, 1, 64}, "frozen");
  expect_alone("base_model.randlora_B", {64, 2, 32}, "frozen");
  expect_alone(at + "randlora_lambda", {32, 2}, "");
  expect_alone("base_model.vblora_vector_bank", {90, 256}, "");
  expect_alone(at + "vblora_logits_A", {8, 2, 90}, "zero_is_not_zero");
  expect_alone(at + "vblora_logits_B", {2, 8, 90}, "zero_is_not_zero");
  expect_alone("prompt_embeddings", {20, 64}, "");
  expect_alone(at + "trainable_tokens_delta", {3, 64}, "");
}

TEST(DefaultSelection, KnowsDiffusersKohyaAndLycoris) {
  expect_family(
      {{"unet.q.lora.down.weight", F16, {4, 64}, ""}, {"unet.q.lora.up.weight", F16, {64, 4}, ""}});
  expect_family({{"lora_unet_q.lora_down.weight", F16, {4, 64}, ""},
                 {"lora_unet_q.lora_up.weight", F16, {64, 4}, ""},
                 {"lora_unet_q.alpha", I64, {}, "dtype"}});
  expect_family({{"lycoris_conv.lora_down.weight", F16, {4, 64, 3, 3}, ""},
                 {"lycoris_conv.lora_up.weight", F16, {64, 4, 1, 1}, ""},
                 {"lycoris_conv.alpha", F16, {}, "vector"},
                 {"lycoris_conv.dora_scale", F16, {64, 1, 1, 1}, "magnitude"},
                 {"lycoris_fc.diff", F16, {64, 64}, ""},
                 {"lycoris_fc.diff_b", F16, {64}, "vector"}});
}

// Buffers.

TEST(DefaultSelection, LeavesMasksAlone) {
  expect_family({{"h.0.attn.bias", F32, {1, 1, 64, 64}, "mask"},
                 {"h.0.attn.masked_bias", F32, {}, "vector"},
                 {"h.0.attn.c_attn.weight", F32, {64, 192}, ""},
                 {"h.0.attn.c_attn.bias", F32, {192}, "vector"},
                 {"h.0.ln_1.weight", F32, {64}, "vector"}});
  expect_alone("attn_mask", {77, 77}, "mask");
  expect_alone("layers.0.blocks.1.attn_mask", {64, 49, 49}, "mask");
  expect_alone("causal_mask", {1, 1, 64, 64}, "mask");
  expect_alone("sa.heads.0.tril", {64, 64}, "mask");
  expect_alone("attn.mask", {64, 64}, "mask");
  expect_alone("blocks.0.attn_bias", {1, 8, 64, 64}, "bias");
  expect_alone("blocks.0.attn_bias", {1, 1, 64, 64}, "mask");
}

TEST(DefaultSelection, LeavesPositionsAlone) {
  expect_alone("rotary.cos_cached", {1, 1, 64, 16}, "positions");
  expect_alone("rotary.sin_cached", {64, 16}, "positions");
  expect_alone("rotary_emb.cos_cache", {64, 16}, "positions");
  expect_alone("rotary_emb.cos_sin_cache", {64, 32}, "positions");
  expect_alone("freqs_cis", {64, 16, 2}, "positions");
  expect_alone("freqs_cos", {64, 16}, "positions");
  expect_alone("freqs_sin", {64, 16}, "positions");
  expect_alone("rotary_emb.inv_freq", {32}, "positions");
  expect_alone("rotary_emb.full_attention_inv_freq", {4, 32}, "positions");
  expect_alone("rope.freqs", {2, 32}, "positions");
  expect_alone("attn.rotary_emb.freqs", {2, 32}, "positions");
  expect_alone("embeddings.position_ids", {1, 512}, "positions");
  expect_alone("h.0.self_attn.embed_positions", {64, 64}, "positions");
  expect_alone("model.encoder.embed_positions.weights", {1026, 64}, "positions");
  expect_alone("pos_encoder.pe", {500, 1, 64}, "positions");
  expect_alone("shared_image_embedding.positional_embedding", {2, 128}, "positions");
  expect_alone("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", {2, 128},
               "positions");
  expect_alone("image_pos_embed.pos_idx_to_embed", {50, 64}, "positions");
  expect_alone("features.1.0.attn.relative_coords_table", {1, 15, 15, 2}, "positions");
  expect_alone("alibi", {1, 8, 64}, "positions");
  expect_alone("attn.alibi_slopes", {8, 1}, "positions");
  expect_family({{"text.position_embedding", F32, {64, 768}, "positions"},
                 {"text.cls_emb", F32, {1, 1, 768}, "vector"},
                 {"text.token_embedding.weight", F32, {100, 768}, ""}});
}

TEST(DefaultSelection, PrunesPositionsThatWereTrained) {
  expect_alone("embeddings.position_embeddings.weight", {512, 384}, "");
  expect_alone("embeddings.position_embeddings", {1, 197, 768}, "");
  expect_alone("vision_model.embeddings.position_embedding", {1, 577, 1024}, "");
  expect_alone("positional_embedding", {77, 512}, "");
  expect_alone("visual.positional_embedding", {50, 768}, "");
  expect_alone("wpe.weight", {1024, 768}, "");
  expect_alone("attn.relative_position_bias_table", {169, 4}, "");
  expect_alone("attn.relative_attention_bias.weight", {32, 8}, "");
}

TEST(DefaultSelection, LeavesStatisticsAlone) {
  expect_alone("bn.running_mean", {64}, "statistics");
  expect_alone("bn.running_var", {64}, "statistics");
  expect_alone("bn.num_batches_tracked", {}, "dtype", I64);
  expect_alone("input_conditioner.norm_mean", {3, 1, 1}, "statistics");
  expect_alone("input_conditioner.norm_std", {3, 1, 1}, "statistics");
  expect_alone("pixel_mean", {3, 1, 1}, "statistics");
  expect_alone("pixel_std", {3, 1, 1}, "statistics");
  expect_alone("norm.running_mean", {4, 64}, "statistics");
}

TEST(DefaultSelection, LeavesCodebooksThatAreAveragesAlone) {
  const std::string at = "quantizer.layers.0.codebook.";
  expect_family({{at + "embed", F32, {1024, 128}, "codebook"},
                 {at + "embed_avg", F32, {1024, 128}, "codebook"},
                 {at + "cluster_size", F32, {1024}, "codebook"},
                 {at + "inited", F32, {1}, "vector"}});
  expect_family({{at + "embed_sum", F32, {2048, 256}, "codebook"},
                 {at + "cluster_usage", F32, {2048}, "codebook"}});
  expect_family({{"vq._codebook.embed", F32, {1, 1024, 128}, "codebook"},
                 {"vq._codebook.embed_avg", F32, {1, 1024, 128}, "codebook"},
                 {"vq._codebook.embed_sum", F32, {1, 1024, 128}, "codebook"},
                 {"vq._codebook.cluster_size", F32, {1, 1024}, "codebook"},
                 {"vq._codebook.cluster_usage", F32, {1, 1024}, "codebook"}});
  expect_alone("quantizers.0.codebook.weight", {1024, 8}, "");  // trained
}

TEST(DefaultSelection, LeavesAloneWhatZeroMeansAnotherValueOf) {
  expect_family({{"backbone.layers.0.mixer.A_log", F32, {1536, 16}, "zero_is_not_zero"},
                 {"backbone.layers.0.mixer.D", F32, {1536}, "vector"},
                 {"backbone.layers.0.mixer.conv1d.weight", F32, {1536, 1, 4}, ""},
                 {"backbone.layers.0.mixer.x_proj.weight", F32, {80, 1536}, ""}});
  expect_alone("layers.0.kernel.log_A_real", {64, 32}, "zero_is_not_zero");
  expect_alone("blocks.0.att.time_decay", {8, 64}, "zero_is_not_zero");
}

TEST(DefaultSelection, LeavesConstantsAlone) {
  expect_alone("self_attn.slope_rate", {32, 1, 1}, "constant");
  expect_alone("self_attn.query_decay", {32, 256, 1}, "constant");
  expect_alone("self_attn.key_decay", {32, 256, 1}, "constant");
  expect_alone("self_attn.diagonal_decay", {1, 32, 256, 256}, "constant");
  expect_alone("stem_dct.transform.transform.weights", {8, 8}, "constant");
  expect_alone("mel_scale.fb", {513, 80}, "constant");
  expect_alone("preprocessor.featurizer.fb", {1, 80, 257}, "constant");
  expect_alone("mel_filters", {80, 201}, "constant");
  expect_alone("mel_basis", {80, 201}, "constant");
  expect_alone("mfcc.dct_mat", {128, 40}, "constant");
  expect_alone("stft.forward_basis", {1026, 1, 1024}, "constant");
  expect_alone("stft.inverse_basis", {1026, 1, 1024}, "constant");
  expect_alone("_model.stft.forward_basis_buffer", {258, 1, 256}, "constant");
  expect_alone("synthesis.b64.conv0.resample_filter", {4, 4}, "constant");
  expect_alone("synthesis.b64.conv0.noise_const", {64, 64}, "constant");
  expect_alone("convs.0.conv.blur.kernel", {4, 4}, "constant");
  expect_alone("model.24.anchors", {3, 3, 2}, "constant");
  expect_alone("model.24.anchor_grid", {3, 1, 3, 1, 1, 2}, "constant");
  expect_alone("attn.fast_attention.projection_matrix", {266, 64}, "frozen");
  expect_family({{"q.weight", F32, {64, 64}, ""}, {"q.weight_integer", F32, {64, 64}, "constant"}});
  expect_alone("weight_integer", {64, 64}, "");
}

// Shapes.

TEST(DefaultSelection, CountsDimensionsLargerThanOne) {
  expect_alone("cls_token", {1, 1, 64}, "vector");
  expect_alone("layer_scale.gamma", {64, 1, 1}, "vector");
  expect_alone("logit_scale", {8, 1, 1}, "vector");
  expect_alone("user_bias.weight", {1000, 1}, "vector");
  expect_alone("temperature", {}, "vector");
  expect_alone("w", {1, 1}, "vector");
  expect_alone("w", {2, 1, 2}, "");
  expect_alone("w", {0, 4}, "empty");
  expect_alone("w", {0}, "empty");
}

TEST(DefaultSelection, LeavesBiasesOfAnyRankAlone) {
  expect_alone("experts.bias", {4, 64}, "bias");
  expect_alone("attn.r_w_bias", {8, 64}, "bias");
  expect_alone("attn.pos_bias_u", {4, 64}, "bias");
  expect_alone("attn.pos_bias_v", {4, 64}, "bias");
  expect_alone("attn.attention_biases", {4, 49}, "bias");
  expect_alone("experts.biases", {4, 64}, "bias");
  expect_alone("bias", {64, 64}, "bias");
  expect_alone("bias", {2, 64, 64}, "bias");
}

TEST(DefaultSelection, MatchesWholePartsOfNames) {
  expect_alone("unmask", {8, 8}, "");
  expect_alone("mask_token.weight", {8, 8}, "");
  expect_alone("unbias", {8, 8}, "");
  expect_alone("type", {8, 8}, "");
  expect_alone("params/attn/bias", {1, 1, 8, 8}, "mask");  // Flax
  expect_alone("mask", {8, 8}, "mask");
}

TEST(DefaultSelection, TakesNoTensors) { EXPECT_TRUE(default_selection({}).empty()); }

TEST(DefaultSelection, EveryReasonHasATextAndACodeOfItsOwn) {
  std::vector<std::string_view> texts, codes;
  for (int i = 0; i <= static_cast<int>(LeftAlone::kVector); ++i) {
    texts.push_back(left_alone_text(static_cast<LeftAlone>(i)));
    codes.push_back(left_alone_code(static_cast<LeftAlone>(i)));
  }
  EXPECT_EQ(left_alone_code(LeftAlone::kDType), "dtype");
  EXPECT_EQ(left_alone_code(LeftAlone::kBias), "bias");
  for (std::vector<std::string_view>* all : {&texts, &codes}) {
    std::sort(all->begin(), all->end());
    EXPECT_FALSE(all->front().empty());
    EXPECT_EQ(std::adjacent_find(all->begin(), all->end()), all->end());
  }
}

// The guard.

template <typename T>
KeptSlices keep(const std::vector<T>& values, DType dtype, std::vector<uint8_t>& mask,
                const SliceShape& shape) {
  const std::vector<uint8_t> before = mask;
  const KeptSlices kept = keep_whole_slices(values.data(), dtype, mask, shape);
  for (size_t piece = 1; piece <= before.size(); ++piece) {
    std::vector<uint8_t> in_pieces = before;
    SliceGuard guard(shape);
    for (size_t first = 0; first < before.size(); first += piece) {
      const size_t count = std::min(piece, before.size() - first);
      guard.see(&values[first], dtype, std::span(in_pieces).subspan(first, count), first);
    }
    KeptSlices sum{.slices = guard.kept_slices()};
    for (size_t first = 0; first < before.size(); first += piece) {
      const size_t count = std::min(piece, before.size() - first);
      sum.values += guard.keep(std::span(in_pieces).subspan(first, count), first);
    }
    EXPECT_EQ(sum, kept) << "in pieces of " << piece;
    EXPECT_EQ(in_pieces, mask) << "in pieces of " << piece;
  }
  return kept;
}

// All values are 1.
KeptSlices keep_ones(std::vector<uint8_t>& mask, const SliceShape& shape) {
  return keep(std::vector<float>(mask.size(), 1.0f), F32, mask, shape);
}

TEST(KeepWholeSlices, KeepsRowsThatWouldFallWhole) {
  std::vector<uint8_t> mask = {0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1};
  EXPECT_EQ(keep_ones(mask, {1, 4, 3}), (KeptSlices{2, 6}));
  EXPECT_EQ(mask, (std::vector<uint8_t>{1, 1, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1}));
}

TEST(KeepWholeSlices, KeepsSlicesOfAMiddleAndALastDimension) {
  std::vector<uint8_t> mask = {0, 0, 0, 1, 0, 0, 0, 0};  // [2, 2, 2]
  EXPECT_EQ(keep_ones(mask, {2, 2, 2}), (KeptSlices{1, 4}));
  EXPECT_EQ(mask, (std::vector<uint8_t>{1, 1, 0, 1, 1, 1, 0, 0}));
  mask = {0, 0, 0, 1, 0, 0, 0, 1};  // [4, 2]
  EXPECT_EQ(keep_ones(mask, {4, 2, 1}), (KeptSlices{1, 4}));
  EXPECT_EQ(mask, (std::vector<uint8_t>{1, 0, 1, 1, 1, 0, 1, 1}));
}

TEST(KeepWholeSlices, KeepsAllOrNothingOfOneSlice) {
  std::vector<uint8_t> none(6, 0), some = {0, 0, 0, 0, 0, 1};
  EXPECT_EQ(keep_ones(none, {1, 1, 6}), (KeptSlices{1, 6}));
  EXPECT_EQ(none, std::vector<uint8_t>(6, 1));
  EXPECT_EQ(keep_ones(some, {1, 1, 6}), (KeptSlices{0, 0}));
  EXPECT_EQ(some, (std::vector<uint8_t>{0, 0, 0, 0, 0, 1}));
}

// Blocks of 2 x 1 keep the 0 of row 0 for the 9 below it.
TEST(KeepWholeSlices, KeepsRowsOfWhichZerosAloneAreLeft) {
  std::vector<uint8_t> mask = {1, 0, 1, 0};
  EXPECT_EQ(keep<float>({-0.0f, 1, 9, 1}, F32, mask, {1, 2, 2}), (KeptSlices{1, 1}));
  EXPECT_EQ(mask, (std::vector<uint8_t>{1, 1, 1, 0}));
}

TEST(KeepWholeSlices, LeavesRowsAloneThatWereZeroBefore) {
  std::vector<uint8_t> mask = {0, 0, 0, 0};
  EXPECT_EQ(keep<float>({0, -0.0f, 1, 1}, F32, mask, {1, 2, 2}), (KeptSlices{1, 2}));
  EXPECT_EQ(mask, (std::vector<uint8_t>{0, 0, 1, 1}));
}

TEST(KeepWholeSlices, KnowsZerosOfEveryType) {
  const std::vector<uint8_t> before = {1, 0, 1, 0}, after = {1, 1, 1, 0};
  std::vector<uint8_t> half = before, brain = before, two = before;
  keep<uint16_t>({0x8000, 0x0001, 0x3c00, 0x3c00}, F16, half, {1, 2, 2});
  keep<uint16_t>({0x8000, 0x8001, 0x3f80, 0x3f80}, BF16, brain, {1, 2, 2});
  keep<double>({-0.0, 5e-324, 1, 1}, DType::kF64, two, {1, 2, 2});
  EXPECT_EQ(half, after);
  EXPECT_EQ(brain, after);
  EXPECT_EQ(two, after);
}

}  // namespace
}  // namespace winnow
