import GraftSupport
import Testing

@testable import GraftTraining

private func parse(_ text: String, limit: Int = 1000) throws -> JSON {
  try parse(Array(text.utf8), limit: limit)
}

private func parse(_ bytes: [UInt8], limit: Int = 1000) throws -> JSON {
  var result: Result<JSON, GraftError>?
  bytes.withUnsafeBytes { bytes in
    do throws(GraftError) {
      result = .success(try JSON(parsing: bytes, source: "test", maximumValues: limit))
    } catch {
      result = .failure(error)
    }
  }
  return try #require(result).get()
}

@Suite struct JSONTests {
  @Test func everyKindOfValueIsRead() throws {
    let json = try parse(
      #" {"b": [1, -2.5e3, true, false, null, {}], "a": "\u00e4\n\ud83d\ude00/", "": {"x": []}} "#)
    let expected: JSON = [
      "b": [1, -2500.0, true, false, .null, [:]], "a": "ä\n😀/", "": ["x": []],
    ]
    #expect(json == expected)
    #expect(json.members?.map(\.key) == ["b", "a", ""])
    #expect(try parse("7") == 7)
    #expect(try parse("\"\"") == "")
    #expect(try parse("9223372036854775807") == .integer(.max))
  }

  @Test func whatIsWrittenReadsBackTheSame() throws {
    let json: JSON = [
      "text": "quote \" backslash \\ slash / newline \n bell \u{7} \u{1F600}", "empty": [:],
      "list": [.null, true, .integer(.max), .integer(.min + 1), []],
    ]
    for pretty in [false, true] { #expect(try parse(try json.text(pretty: pretty)) == json) }
    #expect(try JSON.object([.init("a/b", [1, 2.5])]).text() == #"{"a/b":[1,2.5]}"#)
  }

  @Test func numbersReadBackAsTheSameBits() throws {
    var stream = RandomStream(seed: 5, purpose: .noise)
    var values: [Double] = [0, -0.0, 0.1, 1 / 3, .leastNormalMagnitude]
    values += [.leastNonzeroMagnitude, .greatestFiniteMagnitude]
    while values.count < 2000 {
      let bits = UInt64(stream.next()) << 32 | UInt64(stream.next())
      let value = Double(bitPattern: bits)
      if value.isFinite { values.append(value) }
    }
    let text = try JSON.array(values.map { .number($0) }).text()
    let back = try #require(try parse(text, limit: 3000).elements)
    #expect(back.count == values.count)
    for (value, json) in zip(values, back) {
      #expect(json.number?.bitPattern == value.bitPattern)
      if case .number = json {} else { Issue.record("\(value) came back as \(json)") }
    }
  }

  @Test func whatIsNotFiniteIsNotWritten() {
    #expect(throws: GraftError.self) { try JSON.array([.number(.nan)]).text() }
    #expect(throws: GraftError.self) { try JSON.number(.infinity).text() }
    #expect(JSON(orNull: .nan) == .null)
    #expect(JSON.null.numberOrNaN?.isNaN == true)
    #expect(JSON(orNull: 2).numberOrNaN == 2)
  }

  @Test(arguments: [
    "", " ", "{", "}", "[1,]", "[1 2]", "[1]x", "1 2",
    "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{'a':1}",
    "nul", "NaN", "[NaN]", "Infinity", "[-Infinity]", "1e999", "99999999999999999999",
    "-99999999999999999999", "// x\n1", "[/* x */1]",
    "{\"a\":1,\"a\":2}", "{\"a\":{\"b\":1,\"b\":1}}",
    "\"\\u0000\"", "{\"a\\u0000b\":1}", "\"abc", "\"\\q\"", "tru", "[", "\u{0}", "1\u{0}",
  ])
  func whatIsNoJSONIsRefused(text: String) {
    #expect(throws: GraftError.self, "\(text)") { try parse(text) }
  }

  @Test func hostileTextIsRefused() throws {
    let deep = String(repeating: "[", count: 100_000)
    #expect(throws: GraftError.self) { try parse(deep) }
    let wide = "[" + String(repeating: "0,", count: 1000) + "0]"
    #expect(throws: GraftError.self) { try parse(wide) }
    #expect(throws: GraftError.self) { try parse([0x22, 0xFF, 0x22]) }
    #expect(throws: GraftError.self) { try parse([0x22, 0xC3, 0x22]) }
    // The key of a pair may look like a pair; that is no key twice.
    #expect(try parse(#"{"a:b,\"":":,","c\\":1}"#).members?.count == 2)
  }
}
