// Reads formulas: read BUNDLE < STROKES. Standard input has a formula a line, as inktex reads it too:
// {"strokes": [[[x, y], ...], ...]}. Writes the confidence and the tokens of each.

#include <iostream>

#include "inktex.hpp"

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "expected: read BUNDLE < STROKES\n";
    return 2;
  }
  try {
    inktex::Recognizer recognizer(arguments[1]);
    for (std::string line; std::getline(std::cin, line);) {
      const inktex::Strokes strokes = inktex::Json::parse(line).at("strokes");
      const auto reading = recognizer.read(inktex::prepared(strokes, recognizer.parameters()));
      std::cout << reading.confidence << '\t';
      for (const auto& token : reading.tokens) std::cout << token << ' ';
      std::cout << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
