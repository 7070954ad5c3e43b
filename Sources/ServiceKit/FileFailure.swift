public import Foundation
internal import GRDB
internal import Glibc

/// Why a file or a directory that the operator named is of no use: one line, with its path.
public struct FileFailure: Error, Equatable, CustomStringConvertible {
    public let path: String
    public let reason: String

    public init(_ file: URL, _ reason: String) {
        path = file.path(percentEncoded: false)
        self.reason = reason
    }

    /// `error`: Told in the words of the system or of SQLite. Foundation puts those into the midst of many others.
    public init(_ file: URL, _ error: any Error) {
        self.init(file, Self.words(error))
    }

    public var description: String { "\(path): \(reason)" }

    private static func words(_ error: any Error) -> String {
        if let error = error as? DatabaseError { return error.message ?? "\(error.resultCode)" }
        // On Linux what Foundation keeps there is no `NSError` itself, and becomes one when it is asked to.
        let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? any Error ?? error
        let told = cause as NSError
        guard told.domain == NSPOSIXErrorDomain else { return "\(error)" }
        return String(cString: strerror(Int32(told.code)))
    }
}
