public import HTTP
public import Memory

/// A request head as `HeadWriter` wrote it, read again: for services that want it in another form than text. Lines are
/// found and not judged; what is no such head all the same is `nil`.
@frozen public struct WrittenHead: Equatable, Sendable {
    public let method: ByteRange
    public let target: ByteRange
    /// The value of Host, whose line is not among the fields.
    public let host: ByteRange

    /// Fills `fields`, which is emptied first, with every line but Host's.
    public static func read(_ bytes: RawSpan, into fields: inout FieldTable) -> WrittenHead? {
        fields.removeAll()
        let methodEnd = bytes.firstIndex(of: 0x20, from: 0)
        guard methodEnd &+ 1 < bytes.byteCount else { return nil }
        let targetEnd = bytes.firstIndex(of: 0x20, from: methodEnd &+ 1)
        guard targetEnd < bytes.byteCount else { return nil }
        var cursor = bytes.firstIndex(of: 0x0a, from: targetEnd) &+ 1
        var host = ByteRange.empty
        while cursor < bytes.byteCount {
            var line = FieldLine()
            switch FieldLineParser.next(bytes, &cursor, into: &line) {
            case .line: break
            case .end:
                return WrittenHead(
                    method: ByteRange(start: 0, end: methodEnd),
                    target: ByteRange(start: methodEnd &+ 1, end: targetEnd), host: host)
            case .incomplete, .badName, .badValue, .fold, .bareLineEnd: return nil
            }
            if line.known == .host {
                host = line.value
            } else if !fields.append(line) {
                return nil
            }
        }
        return nil
    }
}
