import Memory

/// Reads one JSON text (RFC 8259) token by token, strictly: what two readers could understand differently is refused.
/// Allocates nothing. After an error every further call throws the same error.
///
/// A byte order mark, duplicate names at any level (compared with their escapes resolved), invalid UTF-8, half
/// surrogate pairs and anything behind the value are refused.
public struct JSONReader: ~Copyable, ~Escapable {
    /// Bounds of what a reader remembers. A text beyond them is refused, whatever it says.
    public static let deepestLevel = 32
    /// Members of all objects that are open at the same time.
    public static let mostOpenMembers = 128

    private let bytes: RawSpan
    /// The next byte to read.
    public private(set) var offset = 0
    /// How many objects and arrays are open.
    public private(set) var depth = 0
    private let maxDepth: Int
    private var expected = Expected.value
    private var failure: JSONError?
    /// Bit n: the container at depth n + 1 is an object.
    private var objectLevels: UInt64 = 0
    private var memberCount = 0
    /// What `memberCount` was when the container at depth n + 1 opened.
    private var firstMember = InlineArray<32, UInt8>(repeating: 0)
    /// Two words a member, so that a new reader has one piece of memory to clear.
    private var members = InlineArray<256, UInt64>(repeating: 0)

    private enum Expected { case value, valueOrArrayEnd, nameOrObjectEnd, name, commaOrEnd, end }

    /// A reader over all of `bytes`. `maxDepth` is at most `deepestLevel`; a text longer than `maxBytes` is refused.
    @_lifetime(copy bytes)
    public init(_ bytes: RawSpan, maxDepth: Int = 16, maxBytes: Int = 1 << 20) {
        precondition(maxDepth >= 0 && maxDepth <= JSONReader.deepestLevel && maxBytes < Int(UInt32.max))
        self.bytes = bytes
        self.maxDepth = maxDepth
        if bytes.byteCount > maxBytes { failure = .tooLong }
    }

    /// The next token; `.end` again and again once the text is done.
    public mutating func next() throws(JSONError) -> JSONToken {
        if let failure { throw failure }
        do { return try read() } catch {
            failure = error
            throw error
        }
    }

    /// Passes over the rest of the container that was opened by the last token, its end included. What is passed
    /// over is held to the same rules.
    public mutating func skipContainer() throws(JSONError) {
        let outside = depth &- 1
        precondition(outside >= 0)
        while depth > outside { _ = try next() }
    }

    /// Passes over the value that `first`, the last token, began. Tokens that begin no container are whole already.
    public mutating func skipValue(from first: JSONToken) throws(JSONError) {
        switch first {
        case .objectStart, .arrayStart: try skipContainer()
        case .objectEnd, .arrayEnd, .name, .string, .number, .bool, .null, .end: break
        }
    }

    /// The bytes of a string or name between its quotes, escapes not resolved.
    @_lifetime(copy self) public func raw(_ text: JSONText) -> RawSpan { bytes[text.range] }

    /// The characters of a number.
    @_lifetime(copy self) public func raw(_ number: JSONNumber) -> RawSpan { bytes[number.range] }

    // MARK: - Grammar

    private mutating func read() throws(JSONError) -> JSONToken {
        skipWhiteSpace()
        if expected == .end {
            guard offset == bytes.byteCount else { throw .badByte(offset: offset) }
            return .end
        }
        guard offset < bytes.byteCount else { throw .unfinished }
        if expected == .commaOrEnd {
            let byte = bytes[offset]
            if byte == UInt8(ascii: "}") || byte == UInt8(ascii: "]") { return try close(byte) }
            guard byte == UInt8(ascii: ",") else { throw .badByte(offset: offset) }
            offset &+= 1
            skipWhiteSpace()
            guard offset < bytes.byteCount else { throw .unfinished }
            expected = isInObject ? .name : .value
        }
        let byte = bytes[offset]
        switch expected {
        case .name, .nameOrObjectEnd:
            if byte == UInt8(ascii: "}"), expected == .nameOrObjectEnd { return try close(byte) }
            return try readName(byte)
        case .valueOrArrayEnd where byte == UInt8(ascii: "]"): return try close(byte)
        case .value, .valueOrArrayEnd: return try readValue(byte)
        case .commaOrEnd, .end: preconditionFailure("settled above")
        }
    }

    private var isInObject: Bool { depth > 0 && objectLevels &>> UInt64(depth &- 1) & 1 == 1 }

    private mutating func skipWhiteSpace() {
        while offset < bytes.byteCount {
            let byte = bytes[offset]
            guard byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 else { return }
            offset &+= 1
        }
    }

    private mutating func readValue(_ first: UInt8) throws(JSONError) -> JSONToken {
        switch first {
        case UInt8(ascii: "{"):
            try open(isObject: true)
            return .objectStart
        case UInt8(ascii: "["):
            try open(isObject: false)
            return .arrayStart
        case UInt8(ascii: "\""):
            let text = try readString()
            finishValue()
            return .string(text)
        case UInt8(ascii: "t"): return try readWord("true", .bool(true))
        case UInt8(ascii: "f"): return try readWord("false", .bool(false))
        case UInt8(ascii: "n"): return try readWord("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            let start = offset
            offset = try JSONNumber.end(in: bytes, from: start)
            finishValue()
            return .number(JSONNumber(range: ByteRange(start: start, end: offset)))
        default: throw .badByte(offset: offset)
        }
    }

    private mutating func readWord(_ word: StaticString, _ token: JSONToken) throws(JSONError) -> JSONToken {
        let wanted = word.utf8Span
        for index in 0..<wanted.byteCount {
            guard offset &+ index < bytes.byteCount else { throw .unfinished }
            guard bytes[offset &+ index] == wanted[index] else { throw .badByte(offset: offset &+ index) }
        }
        offset &+= wanted.byteCount
        finishValue()
        return token
    }

    private mutating func finishValue() { expected = depth == 0 ? .end : .commaOrEnd }

    private mutating func open(isObject: Bool) throws(JSONError) {
        guard depth < maxDepth else { throw .tooDeep(offset: offset) }
        let bit = UInt64(1) &<< UInt64(depth)
        objectLevels = isObject ? objectLevels | bit : objectLevels & ~bit
        firstMember[depth] = UInt8(truncatingIfNeeded: memberCount)
        depth &+= 1
        offset &+= 1
        expected = isObject ? .nameOrObjectEnd : .valueOrArrayEnd
    }

    private mutating func close(_ byte: UInt8) throws(JSONError) -> JSONToken {
        let isObject = isInObject
        guard depth > 0, isObject == (byte == UInt8(ascii: "}")) else { throw .badByte(offset: offset) }
        depth &-= 1
        memberCount = Int(firstMember[depth])
        offset &+= 1
        finishValue()
        return isObject ? .objectEnd : .arrayEnd
    }

    private mutating func readName(_ first: UInt8) throws(JSONError) -> JSONToken {
        guard first == UInt8(ascii: "\"") else { throw .badByte(offset: offset) }
        let start = offset
        let text = try readString()
        try remember(text, at: start)
        skipWhiteSpace()
        guard offset < bytes.byteCount else { throw .unfinished }
        guard bytes[offset] == UInt8(ascii: ":") else { throw .badByte(offset: offset) }
        offset &+= 1
        expected = .value
        return .name(text)
    }

    /// The names of the open objects stand on a stack; those of the innermost lie on top.
    private mutating func remember(_ name: JSONText, at start: Int) throws(JSONError) {
        let hash = EscapeCursor.hash(name, in: bytes[name.range])
        var index = Int(firstMember[depth &- 1])
        while index < memberCount {
            if UInt32(truncatingIfNeeded: members[index &* 2]) == hash, member(index).equals(name, in: bytes)
            {
                throw .duplicateName(offset: start)
            }
            index &+= 1
        }
        guard memberCount < JSONReader.mostOpenMembers else { throw .tooManyMembers(offset: start) }
        members[memberCount &* 2] = UInt64(hash) | (name.isEscaped ? 1 &<< 32 : 0)
        members[memberCount &* 2 &+ 1] =
            UInt64(name.range.lowerBound) | UInt64(name.range.upperBound) &<< 32
        memberCount &+= 1
    }

    private func member(_ index: Int) -> JSONText {
        let range = members[index &* 2 &+ 1]
        return JSONText(
            range: ByteRange(start: Int(range & 0xffff_ffff), end: Int(range &>> 32)),
            isEscaped: members[index &* 2] &>> 32 != 0)
    }

    /// Reads from the opening quote past the closing one.
    private mutating func readString() throws(JSONError) -> JSONText {
        let start = offset &+ 1
        var at = start
        var isEscaped = false
        while true {
            at = UTF8Form.endOfPlain(in: bytes, from: at)
            guard at < bytes.byteCount else { throw .unfinished }
            let byte = bytes[at]
            if byte == UInt8(ascii: "\"") {
                offset = at &+ 1
                return JSONText(range: ByteRange(start: start, end: at), isEscaped: isEscaped)
            }
            if byte == UInt8(ascii: "\\") {
                isEscaped = true
                at = try endOfEscape(at)
            } else if byte < 0x20 {
                throw .badString(offset: at)
            } else {
                let count = UTF8Form.sequenceLength(in: bytes, at: at)
                guard count > 0 else { throw .notUTF8(offset: at) }
                at &+= count
            }
        }
    }

    /// Checks the escape that begins at `at`, both halves of a surrogate pair together; returns where it ends.
    private func endOfEscape(_ at: Int) throws(JSONError) -> Int {
        guard at &+ 1 < bytes.byteCount else { throw .unfinished }
        switch bytes[at &+ 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"),
            UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
            return at &+ 2
        case UInt8(ascii: "u"): break
        default: throw .badString(offset: at)
        }
        guard at &+ 6 <= bytes.byteCount else { throw .unfinished }
        guard let first = EscapeCursor.unit(in: bytes, at: at &+ 2) else { throw .badString(offset: at) }
        guard first & 0xf800 == 0xd800 else { return at &+ 6 }
        // §8.2: half a pair names no character, and readers differ in what they make of it.
        guard first < 0xdc00 else { throw .badString(offset: at) }
        guard at &+ 12 <= bytes.byteCount else { throw .unfinished }
        guard bytes[at &+ 6] == UInt8(ascii: "\\"), bytes[at &+ 7] == UInt8(ascii: "u"),
            let second = EscapeCursor.unit(in: bytes, at: at &+ 8), second & 0xfc00 == 0xdc00
        else { throw .badString(offset: at) }
        return at &+ 12
    }
}
