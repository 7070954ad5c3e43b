internal import Foundation
internal import Glibc
public import Logging

/// One JSON object a line, to standard error: standard output is for the announcements that a script reads.
public struct ServiceLog: LogHandler {
    public var metadata: Logger.Metadata = [:]
    public var logLevel: Logger.Level = .info
    public var metadataProvider: Logger.MetadataProvider?
    private let service: String
    private let write: @Sendable ([UInt8]) -> Void

    /// `write`: Takes one whole line, its line feed included.
    public init(service: String, write: @escaping @Sendable ([UInt8]) -> Void = ServiceLog.toStandardError) {
        self.service = service
        self.write = write
    }

    /// A logger of that service.
    public static func logger(service: String, level: Logger.Level = .info) -> Logger {
        var logger = Logger(label: service) { ServiceLog(service: $0) }
        logger.logLevel = level
        return logger
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var members: [String: Value] = [
            "time": .text(Timestamp.text(Timestamp.now)),
            "level": .text(event.level.rawValue),
            "service": .text(service),
            "event": .text(event.message.description),
        ]
        for (key, value) in metadata.merging(event.metadata ?? [:], uniquingKeysWith: { $1 }) {
            members[key] = Value(value)
        }
        if let error = event.error { members["error"] = .text(String(describing: error)) }
        var writer = JSONWriter()
        writer.beginObject()
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            writer.name(name)
            switch value {
            case .text(let text): writer.string(text)
            case .number(let number): writer.integer(number)
            }
        }
        writer.endObject()
        write(writer.bytes + [UInt8(ascii: "\n")])
    }

    /// One `write(2)` a line: lines of several threads never mix. What the pipe does not take is lost.
    public static func toStandardError(_ line: [UInt8]) {
        _ = line.withUnsafeBytes { Glibc.write(2, $0.baseAddress, $0.count) }
    }

    private enum Value {
        case text(String)
        case number(Int64)

        init(_ value: Logger.MetadataValue) {
            switch value {
            case .string(let text): self = .text(text)
            case .stringConvertible(let number as Int): self = .number(Int64(number))
            case .stringConvertible(let number as Int64): self = .number(number)
            case .stringConvertible(let other): self = .text(other.description)
            case .array, .dictionary: self = .text(value.description)
            }
        }
    }
}
