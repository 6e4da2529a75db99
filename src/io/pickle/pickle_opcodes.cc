#include "io/pickle/pickle_opcodes.h"

#include <algorithm>
#include <iterator>

namespace winnow::io {
namespace {

struct Name {
  Opcode opcode;
  std::string_view name;
};

constexpr Name kNames[] = {
    {Opcode::kMark, "MARK"},
    {Opcode::kEmptyTuple, "EMPTY_TUPLE"},
    {Opcode::kStop, "STOP"},
    {Opcode::kBinFloat, "BINFLOAT"},
    {Opcode::kBinInt, "BININT"},
    {Opcode::kBinInt1, "BININT1"},
    {Opcode::kBinInt2, "BININT2"},
    {Opcode::kNone, "NONE"},
    {Opcode::kBinPersId, "BINPERSID"},
    {Opcode::kReduce, "REDUCE"},
    {Opcode::kShortBinString, "SHORT_BINSTRING"},
    {Opcode::kBinUnicode, "BINUNICODE"},
    {Opcode::kEmptyList, "EMPTY_LIST"},
    {Opcode::kAppend, "APPEND"},
    {Opcode::kBuild, "BUILD"},
    {Opcode::kGlobal, "GLOBAL"},
    {Opcode::kAppends, "APPENDS"},
    {Opcode::kBinGet, "BINGET"},
    {Opcode::kLongBinGet, "LONG_BINGET"},
    {Opcode::kBinPut, "BINPUT"},
    {Opcode::kLongBinPut, "LONG_BINPUT"},
    {Opcode::kSetItem, "SETITEM"},
    {Opcode::kTuple, "TUPLE"},
    {Opcode::kSetItems, "SETITEMS"},
    {Opcode::kEmptyDict, "EMPTY_DICT"},
    {Opcode::kProto, "PROTO"},
    {Opcode::kNewObj, "NEWOBJ"},
    {Opcode::kTuple1, "TUPLE1"},
    {Opcode::kTuple2, "TUPLE2"},
    {Opcode::kTuple3, "TUPLE3"},
    {Opcode::kNewTrue, "NEWTRUE"},
    {Opcode::kNewFalse, "NEWFALSE"},
    {Opcode::kLong1, "LONG1"},
    {Opcode::kEmptySet, "EMPTY_SET"},
};

}  // namespace

std::string_view opcode_name(uint8_t opcode) noexcept {
  const auto* found = std::ranges::find(kNames, static_cast<Opcode>(opcode), &Name::opcode);
  return found == std::end(kNames) ? std::string_view() : found->name;
}

}  // namespace winnow::io
