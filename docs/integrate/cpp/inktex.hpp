// Reads handwritten formulas with ONNX Runtime: ink in, LaTeX tokens out. C++17, one header.
//
//   inktex::Recognizer recognizer("my-bundle");
//   inktex::Reading reading = recognizer.read(inktex::prepared(strokes, recognizer.parameters()));
//
// The bundle is a folder of `inktex export`; nothing of it is built in here: names, shapes and the
// vocabulary are read from its manifest. ../README.md tells the same step by step, for any language.
// Needs ONNX Runtime (https://onnxruntime.ai) and nlohmann/json (https://json.nlohmann.me).

#pragma once

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace inktex {

using Json = nlohmann::json;
using Point = std::array<double, 2>;  // x to the right, y down, in any unit
using Strokes = std::vector<std::vector<Point>>;

struct Image {
  int height, width;
  std::vector<float> values;  // row by row, ink 1 on 0
};

struct Reading {
  std::vector<std::string> tokens;
  double confidence;  // the chance that all of them are right
};

// ---- From strokes to the image ------------------------------------------------------------------

constexpr int kMargin = 8;           // pixels of paper around the ink
constexpr double kLongest = 2048;    // a formula that would be longer is drawn smaller
constexpr double kFarthest = 1e9;    // of coordinates
constexpr int kSupersampling = 4;
constexpr double kFlat = 0.1;        // less than this share of the highest tells nothing of the scale

inline double typical_height(const std::vector<Point>& sizes) {
  const double highest = std::max_element(sizes.begin(), sizes.end(), [](auto& a, auto& b) {
                           return a[1] < b[1];
                         })->at(1);
  const bool flat = std::all_of(sizes.begin(), sizes.end(),
                                [](auto& size) { return size[1] <= 0.2 * size[0]; });
  double sum = 0;
  int count = 0;
  for (const auto& [width, height] : sizes) {
    if (flat || height > kFlat * highest) sum += flat ? width : height, count++;
  }
  const double typical = sum / count;
  return typical > 1e-300 ? typical : 1;
}

// Strokes in pixels, at the recognizer's scale; those without a point are left out.
inline Strokes normalized(Strokes strokes, double symbol_px) {
  strokes.erase(std::remove_if(strokes.begin(), strokes.end(), [](auto& each) { return each.empty(); }),
                strokes.end());
  if (strokes.empty()) {
    throw std::invalid_argument("expected ink with at least one stroke, found none; write something");
  }
  std::vector<Point> sizes;
  Point least{INFINITY, INFINITY}, most{-INFINITY, -INFINITY};
  for (const auto& stroke : strokes) {
    Point low{INFINITY, INFINITY}, high{-INFINITY, -INFINITY};
    for (const auto& point : stroke) {
      for (int axis : {0, 1}) {
        if (!(std::abs(point[axis]) <= kFarthest)) {  // which what is not a number is not, either
          throw std::invalid_argument(
              "expected points of numbers within 1e9, found others; leave those points out");
        }
        low[axis] = std::min(low[axis], point[axis]);
        high[axis] = std::max(high[axis], point[axis]);
      }
    }
    sizes.push_back({high[0] - low[0], high[1] - low[1]});
    for (int axis : {0, 1}) {
      least[axis] = std::min(least[axis], low[axis]);
      most[axis] = std::max(most[axis], high[axis]);
    }
  }
  const double extent = std::max(most[0] - least[0], most[1] - least[1]);
  const double scale = std::min(symbol_px / typical_height(sizes), kLongest / extent);
  for (auto& stroke : strokes) {
    for (auto& point : stroke) {
      for (int axis : {0, 1}) point[axis] = (point[axis] - least[axis]) * scale + kMargin;
    }
  }
  return strokes;
}

struct Pixels {
  int rows, columns;
  std::vector<std::uint8_t> values;

  std::uint8_t& at(int row, int column) { return values[std::size_t(row) * columns + column]; }
};

// Bresenham's line, both ends drawn.
inline void line(Pixels& pixels, int x, int y, int to_x, int to_y) {
  const int dx = std::abs(to_x - x), dy = std::abs(to_y - y);
  const int step_x = (to_x > x) - (to_x < x), step_y = (to_y > y) - (to_y < y);
  const int steps = std::max(dx, dy), minor = std::min(dx, dy);
  int error = 2 * minor - steps;
  for (int i = 0; i < steps; i++) {
    pixels.at(y, x) = 255;
    if (error >= 0) {
      (dx > dy ? y : x) += dx > dy ? step_y : step_x;
      error -= 2 * steps;
    }
    error += 2 * minor;
    (dx > dy ? x : y) += dx > dy ? step_x : step_y;
  }
  pixels.at(to_y, to_x) = 255;
}

// The greatest of size x size pixels around each.
inline Pixels dilated(Pixels pixels, int size) {
  const int before = size / 2, behind = (size - 1) / 2;
  for (bool down : {true, false}) {
    Pixels wider{pixels.rows, pixels.columns, std::vector<std::uint8_t>(pixels.values.size())};
    const int count = down ? pixels.rows : pixels.columns;
    const int others = down ? pixels.columns : pixels.rows;
    for (int other = 0; other < others; other++) {
      for (int i = 0; i < count; i++) {
        if (!(down ? pixels.at(i, other) : pixels.at(other, i))) continue;
        for (int j = std::max(i - behind, 0); j <= std::min(i + before, count - 1); j++) {
          (down ? wider.at(j, other) : wider.at(other, j)) = 255;
        }
      }
    }
    pixels = std::move(wider);
  }
  return pixels;
}

// The encoder's input. `parameters` are those of the manifest's preprocessing.
inline Image prepared(const Strokes& strokes, const Json& parameters) {
  const Strokes ink = normalized(strokes, parameters.at("symbol_px"));
  Point most{0, 0};
  for (const auto& stroke : ink) {
    for (const auto& point : stroke) {
      for (int axis : {0, 1}) most[axis] = std::max(most[axis], point[axis]);
    }
  }
  const int height = int(most[1]) + 1 + kMargin, width = int(most[0]) + 1 + kMargin;
  Pixels fine{height * kSupersampling, width * kSupersampling, {}};
  fine.values.resize(std::size_t(fine.rows) * fine.columns);
  for (const auto& stroke : ink) {
    for (std::size_t i = 0; i < stroke.size(); i++) {
      const auto &from = stroke[i ? i - 1 : 0], &to = stroke[i];
      line(fine, int(from[0] * kSupersampling), int(from[1] * kSupersampling),
           int(to[0] * kSupersampling), int(to[1] * kSupersampling));
    }
  }
  const double pen_px = parameters.at("pen_px");
  fine = dilated(std::move(fine), std::max(int(std::nearbyint(pen_px * kSupersampling)), 1));

  const int multiple = parameters.at("multiple"), padding = parameters.at("padding_px");
  auto padded = [&](int side) { return (side + padding + multiple - 1) / multiple * multiple; };
  Image image{padded(height), padded(width), {}};
  if (std::int64_t(image.height) * image.width > parameters.at("max_pixels")) {
    throw std::runtime_error("the ink is larger than one formula may be; cut it");
  }
  image.values.resize(std::size_t(image.height) * image.width);
  constexpr int area = kSupersampling * kSupersampling;
  for (int row = 0; row < height; row++) {
    for (int column = 0; column < width; column++) {
      int sum = 0;
      for (int y = 0; y < kSupersampling; y++) {
        for (int x = 0; x < kSupersampling; x++) {
          sum += fine.at(row * kSupersampling + y, column * kSupersampling + x);
        }
      }
      image.values[std::size_t(row) * image.width + column] = ((sum + area / 2) / area) / 255.0f;
    }
  }
  return image;
}

// ---- From the image to tokens -------------------------------------------------------------------

using Shape = std::vector<std::int64_t>;

inline std::int64_t product(Shape::const_iterator first, Shape::const_iterator last) {
  return std::accumulate(first, last, std::int64_t{1}, std::multiplies<>());
}

// Throws where a manifest tells of something that this file does not know.
inline void check_manifest(const Json& manifest) {
  if (manifest.at("format_version") != 1) {
    throw std::runtime_error("expected a bundle of format version 1, found " +
                             manifest.at("format_version").dump());
  }
  const Json& name = manifest.at("preprocessing").at("name");
  if (name != "normalised-ink") {
    throw std::runtime_error("expected images of the drawing alone (normalised-ink), found " +
                             name.dump());
  }
}

class Recognizer {
 public:
  explicit Recognizer(const std::string& bundle, const std::string& precision = "") {
    std::ifstream file(bundle + "/manifest.json");
    if (!file) throw std::runtime_error(bundle + ": expected a bundle, found no manifest.json");
    manifest_ = Json::parse(file);
    check_manifest(manifest_);
    const auto& variants = manifest_.at("variants");
    const auto variant = std::find_if(variants.begin(), variants.end(), [&](const Json& each) {
      return each.at("target") == "onnxruntime" &&
             (precision.empty() || each.at("precision") == precision);
    });
    if (variant == variants.end()) {
      throw std::runtime_error(bundle + ": expected a variant for onnxruntime, found none");
    }
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    // or products of 8 bits are cut off on x86 without VNNI
    options.AddConfigEntry("session.x64quantprecision", "1");
    auto session = [&](const char* graph) {
      const std::string path = bundle + "/" + variant->at(graph).get<std::string>();
      return Ort::Session(env_, std::basic_string<ORTCHAR_T>(path.begin(), path.end()).c_str(),
                          options);
    };
    encoder_ = session("encoder");
    step_ = session("step");
  }

  const Json& parameters() const { return manifest_.at("preprocessing").at("parameters"); }

  // The best reading, searched greedily.
  Reading read(const Image& image) {
    const Json& names = manifest_.at("interface");
    const std::vector<std::string> vocabulary = manifest_.at("vocabulary");
    const int longest = manifest_.at("decoding").at("max_length");
    std::map<std::string, Ort::Value> known = encode(image);
    start(known, std::min(kFirstLength, longest));

    auto number = [&](const char* token) {
      return std::find(vocabulary.begin(), vocabulary.end(), token) - vocabulary.begin();
    };
    const std::int64_t eos = number("<eos>");
    std::int64_t token = number("<sos>");
    Reading reading;
    std::vector<double> log_probs;
    for (std::int64_t position = 0; position < longest; position++) {
      make_room(known, position, longest);
      known.insert_or_assign(names.at("tokens"), whole(token));
      known.insert_or_assign(names.at("position"), whole(position));
      std::map<std::string, Ort::Value> found = run(step_, names.at("step"), known);
      const Ort::Value& scores = found.at(names.at("log_probs"));
      const float* first = scores.GetTensorData<float>();
      token = std::max_element(first, first + vocabulary.size()) - first;
      log_probs.push_back(first[token]);
      if (token == eos) break;
      reading.tokens.push_back(vocabulary[token]);
      for (const Json& each : names.at("state")) {
        known.insert_or_assign(each.at("input"), std::move(found.at(each.at("output"))));
      }
    }
    reading.confidence = confidence(log_probs);
    return reading;
  }

 private:
  static constexpr int kFirstLength = 32;    // steps that a cache has room for at first
  static constexpr float kMasked = -5e3f;    // a cell with less bias is never looked at

  // Everything about an image that no step changes; cells without ink are left out.
  std::map<std::string, Ort::Value> encode(const Image& image) {
    const Json& names = manifest_.at("interface");
    std::map<std::string, Ort::Value> given;
    Ort::Value input = zeros({1, 1, image.height, image.width});
    std::copy(image.values.begin(), image.values.end(), input.GetTensorMutableData<float>());
    given.emplace(names.at("image"), std::move(input));
    std::map<std::string, Ort::Value> memory = run(encoder_, names.at("encoder"), given);
    const std::string bias = names.at("memory_bias");
    if (bias.empty()) return memory;
    std::vector<std::int64_t> kept;
    const float* values = memory.at(bias).GetTensorData<float>();
    const std::int64_t count = memory.at(bias).GetTensorTypeAndShapeInfo().GetElementCount();
    for (std::int64_t cell = 0; cell < count; cell++) {
      if (values[cell] > kMasked) kept.push_back(cell);
    }
    if (kept.empty()) return memory;
    for (const Json& spec : names.at("encoder").at("outputs")) {
      const Json& shape = spec.at("shape");
      const auto cells = std::find_if(shape.begin(), shape.end(), [](const Json& size) {
        return size == "cells" || size == "all_cells";
      });
      if (cells == shape.end()) continue;
      Ort::Value& tensor = memory.at(spec.at("name"));
      const std::size_t axis = cells - shape.begin();
      // the encoder may have left them out itself, but for the bias
      if (tensor.GetTensorTypeAndShapeInfo().GetShape()[axis] != count) continue;
      tensor = taken(tensor, axis, kept);
    }
    return memory;
  }

  // The state before the first token: zeros. Sizes that are not fixed are those of the memory.
  void start(std::map<std::string, Ort::Value>& known, std::int64_t length) {
    const Json& names = manifest_.at("interface");
    std::map<std::string, std::int64_t> sizes{{"beams", 1}, {"length", length}};
    for (const Json& spec : names.at("encoder").at("outputs")) {
      const Shape dims = known.at(spec.at("name")).GetTensorTypeAndShapeInfo().GetShape();
      for (std::size_t axis = 0; axis < dims.size(); axis++) {
        const Json& size = spec.at("shape").at(axis);
        if (size.is_string()) sizes.emplace(size, dims[axis]);
      }
    }
    for (const Json& each : names.at("state")) {
      Shape dims;
      for (const Json& size : input_of_step(each.at("input")).at("shape")) {
        dims.push_back(size.is_string() ? sizes.at(size) : size.get<std::int64_t>());
      }
      known.insert_or_assign(each.at("input"), zeros(dims));
    }
  }

  // Caches twice as long where they are full.
  void make_room(std::map<std::string, Ort::Value>& known, std::int64_t position, int longest) {
    for (const Json& each : manifest_.at("interface").at("state")) {
      if (each.at("length_axis").is_null()) continue;
      const std::size_t axis = each.at("length_axis");
      if (input_of_step(each.at("input")).at("shape").at(axis) != "length") continue;
      Ort::Value& tensor = known.at(each.at("input"));
      Shape dims = tensor.GetTensorTypeAndShapeInfo().GetShape();
      if (position < dims[axis]) continue;
      const std::int64_t inner = product(dims.begin() + axis + 1, dims.end());
      const std::int64_t outer = product(dims.begin(), dims.begin() + axis);
      const std::int64_t block = dims[axis] * inner;
      dims[axis] = std::min<std::int64_t>(2 * dims[axis], longest);
      Ort::Value longer = zeros(dims);
      const float* from = tensor.GetTensorData<float>();
      float* to = longer.GetTensorMutableData<float>();
      for (std::int64_t i = 0; i < outer; i++) {
        std::copy(from + i * block, from + (i + 1) * block, to + i * dims[axis] * inner);
      }
      tensor = std::move(longer);
    }
  }

  // A tensor with only some indices of an axis.
  Ort::Value taken(const Ort::Value& tensor, std::size_t axis, const std::vector<std::int64_t>& kept) {
    Shape dims = tensor.GetTensorTypeAndShapeInfo().GetShape();
    const std::int64_t inner = product(dims.begin() + axis + 1, dims.end());
    const std::int64_t outer = product(dims.begin(), dims.begin() + axis), count = dims[axis];
    dims[axis] = std::int64_t(kept.size());
    Ort::Value found = zeros(dims);
    const float* from = tensor.GetTensorData<float>();
    float* to = found.GetTensorMutableData<float>();
    for (std::int64_t i = 0; i < outer; i++) {
      for (const std::int64_t index : kept) {
        const float* first = from + (i * count + index) * inner;
        to = std::copy(first, first + inner, to);
      }
    }
    return found;
  }

  std::map<std::string, Ort::Value> run(Ort::Session& session, const Json& graph,
                                        const std::map<std::string, Ort::Value>& known) {
    std::vector<const char*> inputs, outputs;
    std::vector<const OrtValue*> given;
    std::vector<OrtValue*> found(graph.at("outputs").size(), nullptr);
    for (const Json& spec : graph.at("inputs")) {
      inputs.push_back(spec.at("name").get_ref<const std::string&>().c_str());
      given.push_back(known.at(inputs.back()));
    }
    for (const Json& spec : graph.at("outputs")) {
      outputs.push_back(spec.at("name").get_ref<const std::string&>().c_str());
    }
    Ort::ThrowOnError(Ort::GetApi().Run(session, nullptr, inputs.data(), given.data(),
                                        given.size(), outputs.data(), outputs.size(),
                                        found.data()));
    std::map<std::string, Ort::Value> named;
    for (std::size_t i = 0; i < outputs.size(); i++) named.emplace(outputs[i], Ort::Value(found[i]));
    return named;
  }

  double confidence(const std::vector<double>& log_probs) const {
    double total = 0, least = 0;
    for (const double each : log_probs) {
      const double known = std::min(std::max(each, -20.0), 0.0);
      total += known;
      least = std::min(least, known);
    }
    const auto weights = manifest_.find("confidence");
    if (weights == manifest_.end() || weights->is_null()) return std::exp(total);
    const double logit = weights->at("bias").get<double>() +
                         weights->at("total").get<double>() * total +
                         weights->at("least").get<double>() * least +
                         weights->at("length").get<double>() * double(log_probs.size());
    return 1 / (1 + std::exp(-logit));
  }

  const Json& input_of_step(const std::string& name) const {
    const Json& inputs = manifest_.at("interface").at("step").at("inputs");
    return *std::find_if(inputs.begin(), inputs.end(),
                         [&](const Json& each) { return each.at("name") == name; });
  }

  Ort::Value zeros(const Shape& dims) {
    Ort::Value found = Ort::Value::CreateTensor<float>(allocator_, dims.data(), dims.size());
    float* first = found.GetTensorMutableData<float>();
    std::fill(first, first + product(dims.begin(), dims.end()), 0.0f);
    return found;
  }

  Ort::Value whole(std::int64_t value) {
    const std::int64_t one = 1;
    Ort::Value found = Ort::Value::CreateTensor<std::int64_t>(allocator_, &one, 1);
    *found.GetTensorMutableData<std::int64_t>() = value;
    return found;
  }

  // ONNX Runtime's own builds tell their maker of every start, unless this is set before.
  static Ort::Env silent() {
#ifdef _WIN32
    if (std::getenv("ORT_DISABLE_TELEMETRY") == nullptr) _putenv_s("ORT_DISABLE_TELEMETRY", "1");
#else
    setenv("ORT_DISABLE_TELEMETRY", "1", 0);
#endif
    return Ort::Env(ORT_LOGGING_LEVEL_ERROR, "inktex");
  }

  Ort::Env env_ = silent();
  Ort::AllocatorWithDefaultOptions allocator_;
  Json manifest_;
  Ort::Session encoder_{nullptr}, step_{nullptr};
};

}  // namespace inktex
