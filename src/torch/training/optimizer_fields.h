// PRIVATE. The options and states of LibTorch's optimizers, by LibTorch's names.
#pragma once

#include <torch/optim/adagrad.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/rmsprop.h>
#include <torch/optim/sgd.h>

#include <concepts>
#include <type_traits>

namespace winnow::internal {

template <typename Fields, typename... Kinds>
concept OneOf = (std::same_as<std::remove_const_t<Fields>, Kinds> || ...);

/// Calls visit(name, field) for each field of the options; `Fields` may be const.
template <OneOf<torch::optim::SGDOptions> Fields, typename Visit>
void visit_fields(Fields& options, const Visit& visit) {
  visit("lr", options.lr());
  visit("momentum", options.momentum());
  visit("dampening", options.dampening());
  visit("weight_decay", options.weight_decay());
  visit("nesterov", options.nesterov());
}

template <OneOf<torch::optim::AdamOptions, torch::optim::AdamWOptions> Fields, typename Visit>
void visit_fields(Fields& options, const Visit& visit) {
  visit("lr", options.lr());
  visit("beta1", std::get<0>(options.betas()));
  visit("beta2", std::get<1>(options.betas()));
  visit("eps", options.eps());
  visit("weight_decay", options.weight_decay());
  visit("amsgrad", options.amsgrad());
}

template <OneOf<torch::optim::RMSpropOptions> Fields, typename Visit>
void visit_fields(Fields& options, const Visit& visit) {
  visit("lr", options.lr());
  visit("alpha", options.alpha());
  visit("eps", options.eps());
  visit("weight_decay", options.weight_decay());
  visit("momentum", options.momentum());
  visit("centered", options.centered());
}

template <OneOf<torch::optim::AdagradOptions> Fields, typename Visit>
void visit_fields(Fields& options, const Visit& visit) {
  visit("lr", options.lr());
  visit("lr_decay", options.lr_decay());
  visit("weight_decay", options.weight_decay());
  visit("initial_accumulator_value", options.initial_accumulator_value());
  visit("eps", options.eps());
}

/// Does the same for the state of one parameter.
template <OneOf<torch::optim::SGDParamState> Fields, typename Visit>
void visit_fields(Fields& state, const Visit& visit) {
  visit("momentum_buffer", state.momentum_buffer());
}

template <OneOf<torch::optim::AdamParamState, torch::optim::AdamWParamState> Fields, typename Visit>
void visit_fields(Fields& state, const Visit& visit) {
  visit("step", state.step());
  visit("exp_avg", state.exp_avg());
  visit("exp_avg_sq", state.exp_avg_sq());
  visit("max_exp_avg_sq", state.max_exp_avg_sq());
}

template <OneOf<torch::optim::RMSpropParamState> Fields, typename Visit>
void visit_fields(Fields& state, const Visit& visit) {
  visit("step", state.step());
  visit("square_avg", state.square_avg());
  visit("momentum_buffer", state.momentum_buffer());
  visit("grad_avg", state.grad_avg());
}

template <OneOf<torch::optim::AdagradParamState> Fields, typename Visit>
void visit_fields(Fields& state, const Visit& visit) {
  visit("sum", state.sum());
  visit("step", state.step());
}

}  // namespace winnow::internal
