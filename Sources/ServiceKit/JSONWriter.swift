internal import Foundation

/// Puts a JSON text together. The caller keeps members and items in order; commas come by themselves.
public struct JSONWriter: Sendable {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init(capacityBytes: Int = 256) { bytes.reserveCapacity(capacityBytes) }

    package var text: String { String(decoding: bytes, as: UTF8.self) }

    package mutating func beginObject() { begin(UInt8(ascii: "{")) }
    package mutating func endObject() { end(UInt8(ascii: "}")) }
    package mutating func beginList() { begin(UInt8(ascii: "[")) }
    package mutating func endList() { end(UInt8(ascii: "]")) }

    /// The name of the member that is written next.
    package mutating func name(_ name: StaticString) {
        comma()
        bytes.append(UInt8(ascii: "\""))
        bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    package mutating func name(_ name: String) {
        string(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    package mutating func member(_ name: StaticString, _ value: String) {
        self.name(name)
        string(value)
    }

    package mutating func member(_ name: StaticString, _ value: Int64) {
        self.name(name)
        integer(value)
    }

    package mutating func member(_ name: StaticString, _ value: Bool) {
        self.name(name)
        plain(value ? "true" : "false")
    }

    /// Nothing at all when there is no value.
    package mutating func member(_ name: StaticString, _ value: String?) {
        guard let value else { return }
        member(name, value)
    }

    package mutating func member(_ name: StaticString, _ value: JSONText?) {
        guard let value else { return }
        self.name(name)
        raw(value.text)
    }

    /// A text that lies in another's memory, a store's row.
    package mutating func member(_ name: StaticString, utf8 value: UnsafeBufferPointer<UInt8>) {
        self.name(name)
        string(utf8: value)
    }

    /// A member whose value lies in another's memory, and is JSON already.
    package mutating func member(_ name: StaticString, rawUTF8 value: UnsafeBufferPointer<UInt8>) {
        self.name(name)
        bytes.append(contentsOf: value)
        needsComma = true
    }

    package mutating func integer(_ value: Int64) {
        comma()
        needsComma = true
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        // As many digits as the greatest number has.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var start = digits.count
            var rest = value.magnitude
            repeat {
                start -= 1
                digits[start] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: digits[start...]))
        }
    }

    /// A text that is JSON already.
    package mutating func raw(_ text: String) { plain(text) }

    package mutating func string(_ text: String) {
        var text = text
        text.withUTF8 { string(utf8: $0) }
    }

    /// `buffer`: UTF-8.
    package mutating func string(utf8 buffer: UnsafeBufferPointer<UInt8>) {
        comma()
        bytes.append(UInt8(ascii: "\""))
        var start = 0
        while true {
            let place = JSONScan.plainEnd(buffer, from: start)
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: buffer[start..<place]))
            guard place < buffer.count else { break }
            escape(buffer[place])
            start = place + 1
        }
        bytes.append(UInt8(ascii: "\""))
        needsComma = true
    }

    package mutating func value(_ value: JSONValue) {
        switch value {
        case .null: plain("null")
        case .truth(let truth): plain(truth ? "true" : "false")
        case .integer(let number): integer(number)
        // JSON has no word for what is not finite; a reader of ours never makes such a number.
        case .number(let number): plain(number.isFinite ? "\(number)" : "null")
        case .text(let text): string(text)
        case .list(let items):
            beginList()
            for item in items { self.value(item) }
            endList()
        case .object(let members):
            beginObject()
            for (name, member) in members.sorted(by: { $0.key < $1.key }) {
                string(name)
                bytes.append(UInt8(ascii: ":"))
                needsComma = false
                self.value(member)
            }
            endObject()
        }
    }

    private mutating func escape(_ byte: UInt8) {
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        default:
            bytes.append(contentsOf: "u00".utf8)
            bytes.append(contentsOf: Bytes.hex([byte]).utf8)
        }
    }

    private mutating func plain(_ text: String) {
        comma()
        bytes.append(contentsOf: text.utf8)
        needsComma = true
    }

    private mutating func begin(_ byte: UInt8) {
        comma()
        bytes.append(byte)
        needsComma = false
    }

    private mutating func end(_ byte: UInt8) {
        bytes.append(byte)
        needsComma = true
    }

    private mutating func comma() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
    }
}

/// How far a text goes without what its reader and its writer must look at.
enum JSONScan {
    private static let ones: UInt64 = 0x0101_0101_0101_0101
    private static let tops: UInt64 = 0x8080_8080_8080_8080

    /// The place of the first quotation mark, backslash or control character from `start` on; the end when there is none.
    static func plainEnd(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        guard let base = bytes.baseAddress else { return start }
        var place = start
        // Eight at a time: a bit is set in each byte that is one of the three, and perhaps in some above it, never below.
        while bytes.count - place >= 8 {
            let word = UInt64(
                littleEndian: UnsafeRawPointer(base + place).loadUnaligned(as: UInt64.self))
            let quote = word ^ (ones &* UInt64(UInt8(ascii: "\"")))
            let backslash = word ^ (ones &* UInt64(UInt8(ascii: "\\")))
            let found =
                ((quote &- ones) & ~quote) | ((backslash &- ones) & ~backslash)
                | ((word &- ones &* 0x20) & ~word)
            if found & tops != 0 { return place + (found & tops).trailingZeroBitCount / 8 }
            place += 8
        }
        while place < bytes.count {
            switch bytes[place] {
            case 0..<0x20, UInt8(ascii: "\""), UInt8(ascii: "\\"): return place
            default: place += 1
            }
        }
        return place
    }
}
