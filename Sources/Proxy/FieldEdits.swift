import HTTP
import HTTP1
import HTTP2
import Memory

/// What a route changes of a head's fields, in one direction: some go, some are set. Compiled once; a route without any has
/// an empty one, and pays for a look at its emptiness.
public struct FieldEdits: ~Copyable, Sendable {
    /// Names that do not go on: the removed ones, and those that are set, so that nobody else's value stands beside ours.
    private let gone: FixedArray<FixedArray<UInt8>>
    private let names: FixedArray<FixedArray<UInt8>>
    private let values: FixedArray<FixedArray<UInt8>>
    /// Most bytes that it adds to a head of HTTP/1.
    let byteCount: Int

    public init(set: [(name: [UInt8], value: [UInt8])], remove: [[UInt8]]) {
        let goneNames = remove + set.map(\.name)
        gone = FixedArray(count: goneNames.count) { FixedArray(goneNames[$0]) }
        names = FixedArray(count: set.count) { FixedArray(set[$0].name) }
        values = FixedArray(count: set.count) { FixedArray(set[$0].value) }
        byteCount = set.reduce(0) { $0 + $1.name.count + $1.value.count + 4 }
    }

    var isEmpty: Bool { gone.isEmpty }

    /// Whether a field of this name does not go on. Case is ignored, and `_` counts as `-`: a service behind CGI variables
    /// could not tell a client's X_User from our X-User.
    func removes(_ name: RawSpan) -> Bool {
        for index in 0..<gone.count
        where FieldNames.equalsIgnoringCaseAndUnderscore(name, known: gone[index].span) {
            return true
        }
        return false
    }

    /// Drops the lines that do not go on.
    func apply(to fields: inout FieldTable, of bytes: RawSpan) {
        for index in 0..<fields.count where removes(bytes[fields[index].name]) { fields.drop(index) }
    }

    /// Writes what is set, in the order of the file.
    func write(to writer: inout HeadWriter) {
        for index in 0..<names.count { writer.field(names[index].span, values[index].span) }
    }

    func add(to stream: inout Downstream) {
        for index in 0..<names.count { stream.session?.addField(names[index].span, values[index].span) }
    }
}
