#include "plan_maker.h"

#include <algorithm>
#include <string>
#include <utility>

#include "plan_rules.h"

namespace morch::shim::fuzz {

namespace {

constexpr char kMagic[] = "MSHPLAN1";
constexpr size_t kHeaderBytes = 12;
constexpr size_t kFieldHeaderBytes = 8;

// As it is encoded: `length` is what the field says, `value` what it holds, padding included.
struct Field {
  uint32_t tag;
  uint32_t length;
  Bytes value;
};

void put(Bytes* to, uint64_t number, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) to->push_back(static_cast<uint8_t>(number >> i * 8));
}

uint32_t take_u32(const uint8_t* at) {
  return uint32_t{at[0]} | uint32_t{at[1]} << 8 | uint32_t{at[2]} << 16 | uint32_t{at[3]} << 24;
}

size_t padded(size_t length) { return (length + 7) / 8 * 8; }

// A number that something may turn on.
uint64_t edge(Random* random) {
  static constexpr uint64_t kEdges[] = {0,          1,          2,         8,          39,
                                        64,         4095,       4096,      0777,       65536,
                                        INT32_MAX,  UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_MAX,
                                        1ull << 31, 1ull << 32, 1ull << 63};
  const uint64_t at = kEdges[random->below(std::size(kEdges))];
  return at + random->below(3) - 1;
}

size_t some_length(Random* random, size_t most) {
  if (random->one_in(50)) return most - random->below(std::min<size_t>(most, 3));
  return random->below(std::min<size_t>(most, 40) + 1);
}

std::string some_text(Random* random, size_t least, size_t most) {
  static constexpr char kLetters[] = "abcXYZ0189-";
  std::string text(least + some_length(random, most - least), ' ');
  for (char& letter : text) letter = kLetters[random->below(sizeof(kLetters) - 1)];
  return text;
}

Field some_field(uint32_t tag, Random* random) {
  const Rule& rule = rule_of(tag);
  Field field = {tag, 0, {}};
  if (rule.kind == Kind::kNumbers) {
    for (uint32_t i = 0; i < rule.numbers; ++i) {
      const uint64_t range = rule.max - rule.min;
      const uint64_t number = random->one_in(2) ? edge(random) : random->next();
      const uint64_t bounded = range == UINT64_MAX ? number : rule.min + number % (range + 1);
      put(&field.value, i < rule.bounded ? bounded : number, 8);
    }
  } else {
    std::string text;
    if (rule.kind == Kind::kString) text = some_text(random, 0, 5000);
    if (rule.kind == Kind::kPath) text = "/" + some_text(random, 0, 4094);
    if (rule.kind == Kind::kNonce) text = some_text(random, 8, 64);
    field.value.assign(text.c_str(), text.c_str() + text.size() + 1);
  }
  field.length = static_cast<uint32_t>(field.value.size());
  field.value.resize(padded(field.length));
  return field;
}

Bytes encode(const std::vector<Field>& fields, uint32_t count) {
  Bytes bytes(kMagic, kMagic + sizeof(kMagic) - 1);
  put(&bytes, count, 4);
  for (const Field& field : fields) {
    put(&bytes, field.tag, 4);
    put(&bytes, field.length, 4);
    bytes.insert(bytes.end(), field.value.begin(), field.value.end());
  }
  return bytes;
}

// What there is of fields; the last one may hold less than it says.
std::vector<Field> decode(const Bytes& bytes) {
  std::vector<Field> fields;
  for (size_t at = kHeaderBytes; at + kFieldHeaderBytes <= bytes.size();) {
    Field field = {take_u32(&bytes[at]), take_u32(&bytes[at + 4]), {}};
    at += kFieldHeaderBytes;
    const size_t size = std::min(padded(field.length), bytes.size() - at);
    field.value.assign(bytes.begin() + static_cast<ptrdiff_t>(at),
                       bytes.begin() + static_cast<ptrdiff_t>(at + size));
    at += size;
    fields.push_back(std::move(field));
  }
  return fields;
}

void change_value(Field* field, Random* random) {
  if (field->value.empty()) return;
  if (field->value.size() >= 8 && random->one_in(2)) {
    const size_t at = random->below(field->value.size() / 8) * 8;
    Bytes number;
    put(&number, edge(random), 8);
    std::copy(number.begin(), number.end(), field->value.begin() + static_cast<ptrdiff_t>(at));
    return;
  }
  static constexpr uint8_t kTelling[] = {0, '/', '.', ' ', '-', 0xff};
  field->value[random->below(field->value.size())] = kTelling[random->below(sizeof(kTelling))];
}

// The field stays whole, but for what its new bytes mean.
void resize(Field* field, size_t length, Random* random) {
  field->value.resize(length, static_cast<uint8_t>('a'));
  if (length > 0 && random->one_in(2)) field->value.back() = 0;
  field->length = static_cast<uint32_t>(length);
  field->value.resize(padded(length));
}

void damage_field(std::vector<Field>* fields, uint32_t* count, Random* random) {
  const size_t index = random->below(fields->size());
  const auto at = fields->begin() + static_cast<ptrdiff_t>(index);
  switch (random->below(9)) {
    case 0:
      fields->erase(at);
      --*count;
      break;
    case 1: {
      const Field copy = *at;
      fields->insert(fields->begin() + static_cast<ptrdiff_t>(random->below(fields->size() + 1)),
                     copy);
      ++*count;
      break;
    }
    case 2:
      std::swap(*at, (*fields)[random->below(fields->size())]);
      break;
    case 3:
      at->tag = random->one_in(4) ? static_cast<uint32_t>(edge(random))
                                  : static_cast<uint32_t>(random->below(kLastTag + 2));
      break;
    case 4:
      at->length = random->one_in(3) ? static_cast<uint32_t>(edge(random))
                                     : at->length + static_cast<uint32_t>(random->below(17)) - 8;
      break;
    case 5:
      resize(&*at, random->one_in(20) ? 4090 + random->below(20) : random->below(70), random);
      break;
    case 6:
      // Another one in its place, or one of an optional field that was not there.
      *at = some_field(kFirstTag + static_cast<uint32_t>(random->below(kLastTag)), random);
      break;
    default:
      change_value(&*at, random);
      break;
  }
}

void damage_bytes(Bytes* bytes, Random* random) {
  switch (random->below(4)) {
    case 0:
      bytes->resize(random->below(bytes->size() + 1));
      break;
    case 1:
      bytes->resize(bytes->size() + 1 + random->below(16));
      break;
    default:
      if (bytes->empty()) break;
      (*bytes)[random->below(bytes->size())] ^= static_cast<uint8_t>(1u << random->below(8));
      break;
  }
}

}  // namespace

Bytes make_plan(Random* random) {
  std::vector<Field> fields;
  for (uint32_t tag = kFirstTag; tag <= kLastTag; ++tag) {
    const Rule& rule = rule_of(tag);
    // The lease page is always there: the fence may need it.
    if (rule.optional && tag != 19 && random->one_in(3)) continue;
    const size_t times = rule.repeated ? 1 + random->below(4) : 1;
    for (size_t i = 0; i < times; ++i) fields.push_back(some_field(tag, random));
  }
  for (size_t i = fields.size(); i > 1 && random->one_in(2); --i) {
    std::swap(fields[i - 1], fields[random->below(i)]);
  }
  return encode(fields, static_cast<uint32_t>(fields.size()));
}

void damage(Bytes* plan, Random* random) {
  std::vector<Field> fields = decode(*plan);
  if (fields.empty() || random->one_in(8)) return damage_bytes(plan, random);
  uint32_t count = take_u32(plan->data() + kHeaderBytes - 4);
  if (random->one_in(30)) {
    count = random->one_in(2) ? count + static_cast<uint32_t>(random->below(3)) - 1
                              : static_cast<uint32_t>(edge(random));
  } else {
    damage_field(&fields, &count, random);
  }
  *plan = encode(fields, count);
}

}  // namespace morch::shim::fuzz
