// Stands in for libFuzzer where there is no clang: mutates whole plans, without feedback from
// coverage. Usage: <program> SECONDS SEED PLAN...
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t length);

namespace {

using Bytes = std::vector<uint8_t>;

std::mt19937_64 generator;

size_t below(size_t limit) { return limit == 0 ? 0 : generator() % limit; }

Bytes read_file(const char* path) {
  Bytes bytes;
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) {
    std::perror(path);
    std::exit(1);
  }
  uint8_t buffer[4096];
  for (size_t length; (length = std::fread(buffer, 1, sizeof(buffer), file)) > 0;) {
    bytes.insert(bytes.end(), buffer, buffer + length);
  }
  std::fclose(file);
  return bytes;
}

void put_u32(Bytes& bytes, size_t at, uint32_t value) {
  if (at + 4 <= bytes.size()) std::memcpy(bytes.data() + at, &value, 4);
}

// Where fields begin, as far as the lengths can be followed.
std::vector<size_t> fields_of(const Bytes& bytes) {
  std::vector<size_t> starts;
  for (size_t at = 12; at + 8 <= bytes.size();) {
    starts.push_back(at);
    uint32_t length;
    std::memcpy(&length, bytes.data() + at + 4, 4);
    at += 8 + (size_t{length} + 7) / 8 * 8;
  }
  return starts;
}

void mutate(Bytes& bytes) {
  static constexpr uint32_t kEdges[] = {0,  1,   7,    8,     9,          16,         24,
                                        27, 255, 4096, 65536, 0x7fffffff, 0xfffffff8, 0xffffffff};
  const std::vector<size_t> fields = fields_of(bytes);
  const size_t field = fields.empty() ? 0 : fields[below(fields.size())];
  switch (below(8)) {
    case 0:
      if (!bytes.empty()) bytes[below(bytes.size())] = static_cast<uint8_t>(generator());
      break;
    case 1:
      if (!bytes.empty()) bytes[below(bytes.size())] ^= static_cast<uint8_t>(1 << below(8));
      break;
    case 2:
      bytes.resize(below(bytes.size() + 1));
      break;
    case 3:
      bytes.insert(bytes.end(), below(32), static_cast<uint8_t>(generator()));
      break;
    case 4:
      put_u32(bytes, field, static_cast<uint32_t>(below(30)));  // tag
      break;
    case 5:
      put_u32(bytes, field + 4, kEdges[below(std::size(kEdges))]);  // length
      break;
    case 6:
      put_u32(bytes, field + 8 + below(16), kEdges[below(std::size(kEdges))]);  // value
      break;
    case 7: {  // a field twice, and counted
      const size_t end =
          field + 8 < bytes.size() ? field + 8 + below(bytes.size() - field - 8) : bytes.size();
      if (field < end) {
        const Bytes copy(bytes.begin() + static_cast<long>(field),
                         bytes.begin() + static_cast<long>(end));
        bytes.insert(bytes.begin() + static_cast<long>(field), copy.begin(), copy.end());
      }
      put_u32(bytes, 8, static_cast<uint32_t>(fields_of(bytes).size()));
      break;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 1;
  const double seconds = std::atof(argv[1]);
  generator.seed(std::strtoull(argv[2], nullptr, 10));
  std::vector<Bytes> plans;
  for (int i = 3; i < argc; ++i) plans.push_back(read_file(argv[i]));
  uint64_t runs = 0;
  const std::time_t end = std::time(nullptr) + static_cast<std::time_t>(seconds);
  while (std::time(nullptr) < end) {
    for (int i = 0; i < 1000; ++i, ++runs) {
      Bytes bytes = plans[below(plans.size())];
      for (size_t count = below(6); count > 0; --count) mutate(bytes);
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
  }
  std::printf("%llu plans read\n", static_cast<unsigned long long>(runs));
  return 0;
}
