import HTTP
public import Memory

/// Why a chunked body is refused.
@frozen public enum ChunkError: UInt8, Error, Equatable, Sendable {
    /// No hexadecimal digit where a size begins, more than sixteen of them, or a size that does not fit an `Int`.
    case badSize
    /// A control byte in an extension, or something other than an extension behind a size.
    case badExtension
    /// Longer extensions than `ChunkedDecoder.extensionLimit` allows for a line or for the message.
    case extensionTooLong
    /// A CR without LF, or a LF without CR.
    case bareLineEnd
    /// The bytes of a chunk are not followed by CRLF.
    case badChunkEnd
    /// A trailer line that is no field line (RFC 9112 §5).
    case badTrailer
    /// More trailer bytes or lines than allowed.
    case trailersTooLong
}

/// How far a call of `ChunkedDecoder.decode` came.
@frozen public enum ChunkStep: Equatable, Sendable {
    /// All input is used up.
    case needsMore
    /// The output got as many bytes as the call allowed; call again when there is room.
    case limitReached
    /// The body has ended; the input begins behind it.
    case ended
    case refused(ChunkError)
    /// The pool is exhausted; call again when blocks have come back.
    case outOfBlocks
}

/// Decodes a chunked body (RFC 9112 §7.1) as it comes, in any pieces. Strict: a size that two parsers read in two ways is
/// how a request hides in the body of another.
@frozen public struct ChunkedDecoder: Equatable, Sendable {
    /// Bytes of extensions in one chunk line.
    @inlinable public static var lineExtensionLimit: Int { 256 }
    /// Bytes of extensions in a whole message: dripped for ever, they would cost us work that moves no body.
    @inlinable public static var extensionLimit: Int { 16384 }
    @inlinable public static var trailerByteLimit: Int { 8192 }
    @inlinable public static var trailerLineLimit: Int { 32 }

    @usableFromInline enum Place: UInt8, Equatable, Sendable {
        case size, afterSizeDigit, spaceAfterSize, extensionText, sizeLineFeed
        case data, dataReturn, dataLineFeed
        case trailerStart, trailerName, trailerValue, trailerLineFeed, lastLineFeed
        case ended
    }

    @usableFromInline var place = Place.size
    @usableFromInline var digits: UInt8 = 0
    @usableFromInline var lineExtensionBytes: UInt16 = 0
    @usableFromInline var extensionBytes: UInt16 = 0
    @usableFromInline var trailerBytes: UInt16 = 0
    @usableFromInline var trailerLines: UInt8 = 0
    /// Of the chunk at hand: its size while its line is read, then what is still to come of it.
    @usableFromInline var remaining = 0

    @inlinable public init() {}

    /// Whether the whole body has been decoded.
    @inlinable public var isEnded: Bool { place == .ended }

    /// Body bytes that the chunk at hand has said and not brought yet.
    @inlinable public var announcedByteCount: Int { remaining }

    /// Moves body bytes from `input` to the end of `output`, at most `limit` (above 0) in this call; whole blocks are
    /// moved where a block holds nothing else. Trailer lines are appended to `trailers` as `name: value CRLF`, checked to
    /// be field lines; which of them may go on is `Trailers`' to say. Not to be called again after a refusal.
    public mutating func decode(
        _ input: inout ByteQueue, into output: inout ByteQueue, trailers: inout ByteQueue,
        pool: borrowing BlockPool, limit: Int
    ) -> ChunkStep {
        var left = limit
        while place != .ended {
            guard !input.isEmpty else { return .needsMore }
            if place == .data {
                guard left > 0 else { return .limitReached }
                let before = input.byteCount
                let isMoved = output.append(
                    first: min(remaining, left, before), of: &input, from: pool)
                let moved = before &- input.byteCount
                remaining &-= moved
                left &-= moved
                guard isMoved else { return .outOfBlocks }
                if remaining == 0 { place = .dataReturn }
            } else if place.isTrailer {
                if let stop = trailerStep(&input, &trailers, pool) { return stop }
            } else {
                var used = 0
                let error = lineStep(input.firstBytes, &used)
                input.consume(used)
                if let error { return .refused(error) }
            }
        }
        return .ended
    }

    /// Goes through the bytes between the data of two chunks, until the place is another's.
    private mutating func lineStep(_ bytes: RawSpan, _ used: inout Int) -> ChunkError? {
        while used < bytes.byteCount {
            let byte = bytes[used]
            switch place {
            case .size, .afterSizeDigit:
                if let error = sizeByte(byte) { return error }
            case .spaceAfterSize:
                // §7.1.1: whitespace only before an extension's semicolon.
                guard byte == 0x3b || byte == 0x20 || byte == 0x09 else { return .badExtension }
                if byte == 0x3b { place = .extensionText }
                if let error = countExtension() { return error }
            case .extensionText:
                if byte == 0x0d {
                    place = .sizeLineFeed
                } else {
                    guard byte != 0x0a else { return .bareLineEnd }
                    guard byte >= 0x20 && byte != 0x7f || byte == 0x09 else { return .badExtension }
                    if let error = countExtension() { return error }
                }
            case .sizeLineFeed:
                guard byte == 0x0a else { return .bareLineEnd }
                place = remaining > 0 ? .data : .trailerStart
                digits = 0
                lineExtensionBytes = 0
            case .dataReturn:
                guard byte == 0x0d else { return .badChunkEnd }
                place = .dataLineFeed
            case .dataLineFeed:
                guard byte == 0x0a else { return .badChunkEnd }
                place = .size
            case .data, .trailerStart, .trailerName, .trailerValue, .trailerLineFeed, .lastLineFeed, .ended:
                return nil
            }
            used &+= 1
        }
        return nil
    }

    private mutating func sizeByte(_ byte: UInt8) -> ChunkError? {
        if let digit = byte.hexValue {
            // Sixteen digits, so that no endless row of zeros is a size.
            guard digits < 16, remaining <= Int.max &>> 4 else { return .badSize }
            remaining = remaining &<< 4 | Int(digit)
            digits &+= 1
            place = .afterSizeDigit
            return nil
        }
        guard place == .afterSizeDigit else { return byte == 0x0a ? .bareLineEnd : .badSize }
        switch byte {
        case 0x0d: place = .sizeLineFeed
        case 0x3b: place = .extensionText
        case 0x20, 0x09: place = .spaceAfterSize
        case 0x0a: return .bareLineEnd
        default: return .badSize
        }
        return byte == 0x0d ? nil : countExtension()
    }

    private mutating func countExtension() -> ChunkError? {
        lineExtensionBytes &+= 1
        extensionBytes &+= 1
        let isTooLong =
            Int(lineExtensionBytes) > ChunkedDecoder.lineExtensionLimit
            || Int(extensionBytes) > ChunkedDecoder.extensionLimit
        return isTooLong ? .extensionTooLong : nil
    }
}

extension ChunkedDecoder.Place {
    @inlinable var isTrailer: Bool {
        switch self {
        case .trailerStart, .trailerName, .trailerValue, .trailerLineFeed, .lastLineFeed: true
        case .size, .afterSizeDigit, .spaceAfterSize, .extensionText, .sizeLineFeed, .data, .dataReturn,
            .dataLineFeed, .ended:
            false
        }
    }
}

// The trailer section (RFC 9112 §7.1.2).
extension ChunkedDecoder {
    /// Goes through the trailer bytes of the first block of `input`; what ended the whole call, if anything did.
    private mutating func trailerStep(
        _ input: inout ByteQueue, _ trailers: inout ByteQueue, _ pool: borrowing BlockPool
    ) -> ChunkStep? {
        // A pool without blocks leaves everything as it was, to be gone through again.
        let before = self
        var used = 0
        var kept = 0
        if let error = scanTrailers(input.firstBytes, &used, &kept) { return .refused(error) }
        if kept > 0, !trailers.append(input.firstBytes.extracting(0..<kept), from: pool) {
            self = before
            return .outOfBlocks
        }
        input.consume(used)
        return nil
    }

    /// Goes through trailer bytes up to the end of the body: `used` of them, of which the first `kept` are field lines.
    private mutating func scanTrailers(_ bytes: RawSpan, _ used: inout Int, _ kept: inout Int) -> ChunkError?
    {
        while used < bytes.byteCount, place != .ended {
            let isLast = place == .lastLineFeed || (place == .trailerStart && bytes[used] == 0x0d)
            if let error = trailerByte(bytes[used]) { return error }
            used &+= 1
            if !isLast { kept = used }
        }
        return nil
    }

    private mutating func trailerByte(_ byte: UInt8) -> ChunkError? {
        trailerBytes &+= 1
        guard Int(trailerBytes) <= ChunkedDecoder.trailerByteLimit else { return .trailersTooLong }
        switch place {
        case .trailerStart:
            if byte == 0x0d {
                place = .lastLineFeed
                return nil
            }
            guard ByteSet.token.contains(byte) else { return byte == 0x0a ? .bareLineEnd : .badTrailer }
            trailerLines &+= 1
            guard Int(trailerLines) <= ChunkedDecoder.trailerLineLimit else { return .trailersTooLong }
            place = .trailerName
        case .trailerName:
            if byte == 0x3a {
                place = .trailerValue
            } else {
                guard ByteSet.token.contains(byte) else { return .badTrailer }
            }
        case .trailerValue:
            if byte == 0x0d {
                place = .trailerLineFeed
            } else {
                guard ByteSet.fieldText.contains(byte) else {
                    return byte == 0x0a ? .bareLineEnd : .badTrailer
                }
            }
        case .trailerLineFeed:
            guard byte == 0x0a else { return .bareLineEnd }
            place = .trailerStart
        case .lastLineFeed:
            guard byte == 0x0a else { return .bareLineEnd }
            place = .ended
        case .size, .afterSizeDigit, .spaceAfterSize, .extensionText, .sizeLineFeed, .data, .dataReturn,
            .dataLineFeed, .ended:
            break
        }
        return nil
    }
}
