internal import Foundation

/// Takes a JSON text apart, token by token, strictly (RFC 8259) and without building what the caller does not want.
/// It borrows the bytes: use it within `withUnsafeBufferPointer` only.
public struct JSONReader {
    /// Why a text is not JSON, and at which byte.
    public struct Failure: Error, Equatable, CustomStringConvertible, Sendable {
        public enum Reason: String, Sendable {
            case endedEarly = "the text ends early"
            case unexpected = "an unexpected byte"
            case badNumber = "not a number of JSON"
            case badText = "not a string of JSON"
            case duplicateMember = "a member comes twice"
            case tooDeep = "nested too deep"
            case trailing = "something follows the value"
        }

        public let reason: Reason
        public let offset: Int
        public var description: String { "\(reason.rawValue) at byte \(offset)" }
    }

    private let bytes: UnsafeBufferPointer<UInt8>
    private let depthLimit: Int
    private var depth = 0
    /// The next byte to look at.
    package private(set) var index = 0

    package init(_ bytes: UnsafeBufferPointer<UInt8>, depthLimit: Int = 64) {
        self.bytes = bytes
        self.depthLimit = depthLimit
    }

    /// Nothing but white space may be left.
    package mutating func end() throws(Failure) {
        skipSpace()
        guard index == bytes.count else { throw failure(.trailing) }
    }

    /// Reads one value whole.
    package mutating func value() throws(Failure) -> JSONValue {
        switch try peek() {
        case UInt8(ascii: "{"):
            var members: [String: JSONValue] = [:]
            try enter()
            while let name = try nextMember() {
                let place = index
                guard members.updateValue(try value(), forKey: name) == nil else {
                    throw Failure(reason: .duplicateMember, offset: place)
                }
            }
            return .object(members)
        case UInt8(ascii: "["):
            var items: [JSONValue] = []
            try enter()
            while try nextItem() { items.append(try value()) }
            return .list(items)
        case UInt8(ascii: "\""): return .text(try string())
        case UInt8(ascii: "t"):
            try word("true")
            return .truth(true)
        case UInt8(ascii: "f"):
            try word("false")
            return .truth(false)
        case UInt8(ascii: "n"):
            try word("null")
            return .null
        default: return try number()
        }
    }

    /// Passes over one value, and checks it as `value()` would, but for duplicate members.
    package mutating func skip() throws(Failure) {
        switch try peek() {
        case UInt8(ascii: "{"):
            try enter()
            while try nextMemberPassed() { try skip() }
        case UInt8(ascii: "["):
            try enter()
            while try nextItem() { try skip() }
        case UInt8(ascii: "\""): try passString()
        case UInt8(ascii: "t"): try word("true")
        case UInt8(ascii: "f"): try word("false")
        case UInt8(ascii: "n"): try word("null")
        default: _ = try number()
        }
    }

    /// One value as the text that it was written in.
    package mutating func raw() throws(Failure) -> JSONText {
        skipSpace()
        let start = index
        try skip()
        guard let text = text(start..<index) else { throw Failure(reason: .badText, offset: start) }
        return JSONText(checked: text)
    }

    /// Steps into an object or a list.
    package mutating func enter() throws(Failure) {
        let first = try peek()
        guard first == UInt8(ascii: "{") || first == UInt8(ascii: "[") else { throw failure(.unexpected) }
        guard depth < depthLimit else { throw failure(.tooDeep) }
        depth += 1
        index += 1
        isAtFirst = true
    }

    /// Whether the container just entered has given nothing yet.
    private var isAtFirst = false

    /// The name of the next member, its value to be read next; `nil` after the last.
    package mutating func nextMember() throws(Failure) -> String? {
        guard try step(to: UInt8(ascii: "}")) else { return nil }
        let name = try string()
        try colon()
        return name
    }

    /// The same, for who compares the name and does not keep it: no text is made of it.
    package mutating func nextName() throws(Failure) -> Name? {
        guard try step(to: UInt8(ascii: "}")) else { return nil }
        guard try peek() == UInt8(ascii: "\"") else { throw failure(.unexpected) }
        let start = index + 1
        let hasEscapes = try passString()
        let inner = start..<(index - 1)
        let name = Name(
            bytes: UnsafeBufferPointer(rebasing: bytes[inner]), text: hasEscapes ? try unescaped(inner) : nil)
        try colon()
        return name
    }

    /// A member's name, to be compared with those that are known. Use it before the reader's bytes are gone.
    package struct Name {
        fileprivate let bytes: UnsafeBufferPointer<UInt8>
        /// Where it was written with escapes.
        fileprivate let text: String?

        package static func ~= (known: StaticString, name: Name) -> Bool {
            if let text = name.text { return text == known.description }
            return name.bytes.count == known.utf8CodeUnitCount
                && memcmp(name.bytes.baseAddress ?? known.utf8Start, known.utf8Start, name.bytes.count) == 0
        }
    }

    private mutating func nextMemberPassed() throws(Failure) -> Bool {
        guard try step(to: UInt8(ascii: "}")) else { return false }
        try passString()
        try colon()
        return true
    }

    /// Whether one more item follows, to be read next.
    package mutating func nextItem() throws(Failure) -> Bool { try step(to: UInt8(ascii: "]")) }

    /// A string.
    package mutating func string() throws(Failure) -> String {
        guard try peek() == UInt8(ascii: "\"") else { throw failure(.unexpected) }
        let start = index + 1
        let hasEscapes = try passString()
        let inner = start..<(index - 1)
        guard hasEscapes else {
            guard let text = text(inner) else { throw Failure(reason: .badText, offset: start) }
            return text
        }
        return try unescaped(inner)
    }

    /// A whole number that fits; anything else is `badNumber`.
    package mutating func integer() throws(Failure) -> Int64 {
        skipSpace()
        if let number = plainInteger() { return number }
        let start = index
        guard let number = try number().asInteger else { throw Failure(reason: .badNumber, offset: start) }
        return number
    }

    /// Most numbers: up to 18 digits, which fit, without fraction and exponent. `nil`, and nothing passed over, for any other.
    private mutating func plainInteger() -> Int64? {
        var place = index
        let isNegative = place < bytes.count && bytes[place] == UInt8(ascii: "-")
        if isNegative { place += 1 }
        let first = place
        var number: Int64 = 0
        while place < bytes.count, case let digit = bytes[place] &- UInt8(ascii: "0"), digit < 10 {
            guard place - first < 18 else { return nil }
            number = number &* 10 &+ Int64(digit)
            place += 1
        }
        guard place > first, bytes[first] != UInt8(ascii: "0") || place == first + 1 else { return nil }
        if place < bytes.count {
            switch bytes[place] {
            case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): return nil
            default: break
            }
        }
        index = place
        return isNegative ? -number : number
    }

    /// Whether the next value is `null`, which is then passed over.
    package mutating func isNull() throws(Failure) -> Bool {
        guard try peek() == UInt8(ascii: "n") else { return false }
        try word("null")
        return true
    }

    /// `true` or `false`.
    package mutating func truth() throws(Failure) -> Bool {
        if try peek() == UInt8(ascii: "t") {
            try word("true")
            return true
        }
        try word("false")
        return false
    }

    private mutating func step(to end: UInt8) throws(Failure) -> Bool {
        var next = try peek()
        if next == end {
            index += 1
            depth -= 1
            isAtFirst = false
            return false
        }
        if !isAtFirst {
            guard next == UInt8(ascii: ",") else { throw failure(.unexpected) }
            index += 1
            next = try peek()
            guard next != end else { throw failure(.unexpected) }
        }
        isAtFirst = false
        return true
    }

    private mutating func colon() throws(Failure) {
        guard try peek() == UInt8(ascii: ":") else { throw failure(.unexpected) }
        index += 1
    }

    private mutating func peek() throws(Failure) -> UInt8 {
        skipSpace()
        guard index < bytes.count else { throw failure(.endedEarly) }
        return bytes[index]
    }

    private mutating func skipSpace() {
        while index < bytes.count {
            switch bytes[index] {
            case 0x20, 0x09, 0x0A, 0x0D: index += 1
            default: return
            }
        }
    }

    private mutating func word(_ expected: StaticString) throws(Failure) {
        for offset in 0..<expected.utf8CodeUnitCount {
            guard index < bytes.count else { throw failure(.endedEarly) }
            guard bytes[index] == expected.utf8Start[offset] else { throw failure(.unexpected) }
            index += 1
        }
    }

    private mutating func number() throws(Failure) -> JSONValue {
        skipSpace()
        let start = index
        var isWhole = true
        if index < bytes.count, bytes[index] == UInt8(ascii: "-") { index += 1 }
        let firstDigit = index
        guard passDigits() else { throw Failure(reason: .badNumber, offset: start) }
        // "01" is two numbers to a strict reader (RFC 8259 §6).
        guard bytes[firstDigit] != UInt8(ascii: "0") || index == firstDigit + 1 else {
            throw Failure(reason: .badNumber, offset: start)
        }
        if index < bytes.count, bytes[index] == UInt8(ascii: ".") {
            isWhole = false
            index += 1
            guard passDigits() else { throw Failure(reason: .badNumber, offset: start) }
        }
        if index < bytes.count, bytes[index] | 0x20 == UInt8(ascii: "e") {
            isWhole = false
            index += 1
            if index < bytes.count, bytes[index] == UInt8(ascii: "+") || bytes[index] == UInt8(ascii: "-") {
                index += 1
            }
            guard passDigits() else { throw Failure(reason: .badNumber, offset: start) }
        }
        let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<index]), as: UTF8.self)
        if isWhole, let whole = Int64(text) { return .integer(whole) }
        guard let number = Double(text), number.isFinite else {
            throw Failure(reason: .badNumber, offset: start)
        }
        return .number(number)
    }

    private mutating func passDigits() -> Bool {
        let start = index
        while index < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index]) {
            index += 1
        }
        return index > start
    }

    /// Passes over a string. Returns whether it holds escapes. Whether it is UTF-8 is judged where text is made of it,
    /// or by whoever passed over it.
    @discardableResult
    private mutating func passString() throws(Failure) -> Bool {
        guard try peek() == UInt8(ascii: "\"") else { throw failure(.unexpected) }
        index += 1
        var hasEscapes = false
        while true {
            index = JSONScan.plainEnd(bytes, from: index)
            guard index < bytes.count else { break }
            switch bytes[index] {
            case UInt8(ascii: "\""):
                index += 1
                return hasEscapes
            case UInt8(ascii: "\\"):
                hasEscapes = true
                try passEscape()
            default: throw failure(.badText)
            }
        }
        throw failure(.endedEarly)
    }

    private mutating func passEscape() throws(Failure) {
        index += 1
        guard index < bytes.count else { throw failure(.endedEarly) }
        switch bytes[index] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
            UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            index += 1
        case UInt8(ascii: "u"):
            guard let unit = unit(at: index + 1) else { throw failure(.badText) }
            index += 5
            switch unit {
            case 0xD800..<0xDC00:
                // Half of a pair stands for nothing: its other half must follow.
                guard index + 1 < bytes.count, bytes[index] == UInt8(ascii: "\\"),
                    bytes[index + 1] == UInt8(ascii: "u"), let low = self.unit(at: index + 2),
                    (0xDC00..<0xE000).contains(low)
                else { throw failure(.badText) }
                index += 6
            case 0xDC00..<0xE000: throw failure(.badText)
            default: break
            }
        default: throw failure(.badText)
        }
    }

    private func unit(at start: Int) -> UInt16? {
        guard start + 4 <= bytes.count else { return nil }
        var unit: UInt16 = 0
        for byte in bytes[start..<start + 4] {
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: return nil
            }
            unit = unit << 4 | UInt16(digit)
        }
        return unit
    }

    /// The text of a string whose escapes have been checked.
    private func unescaped(_ range: Range<Int>) throws(Failure) -> String {
        var plain: [UInt8] = []
        plain.reserveCapacity(range.count)
        var units: [UInt16] = []
        var place = range.lowerBound
        while place < range.upperBound {
            guard bytes[place] == UInt8(ascii: "\\") else {
                plain.append(bytes[place])
                place += 1
                continue
            }
            switch bytes[place + 1] {
            case UInt8(ascii: "u"):
                units.removeAll(keepingCapacity: true)
                while place < range.upperBound, bytes[place] == UInt8(ascii: "\\"),
                    bytes[place + 1] == UInt8(ascii: "u"), let unit = unit(at: place + 2)
                {
                    units.append(unit)
                    place += 6
                }
                plain.append(contentsOf: String(decoding: units, as: UTF16.self).utf8)
                continue
            case UInt8(ascii: "b"): plain.append(0x08)
            case UInt8(ascii: "f"): plain.append(0x0C)
            case UInt8(ascii: "n"): plain.append(0x0A)
            case UInt8(ascii: "r"): plain.append(0x0D)
            case UInt8(ascii: "t"): plain.append(0x09)
            case let same: plain.append(same)
            }
            place += 2
        }
        guard let text = String(validating: plain, as: UTF8.self) else {
            throw Failure(reason: .badText, offset: range.lowerBound)
        }
        return text
    }

    /// `nil` when it is not UTF-8.
    private func text(_ range: Range<Int>) -> String? {
        String(validating: UnsafeBufferPointer(rebasing: bytes[range]), as: UTF8.self)
    }

    private func failure(_ reason: Failure.Reason) -> Failure { Failure(reason: reason, offset: index) }
}
