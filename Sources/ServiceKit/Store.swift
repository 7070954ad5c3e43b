public import Foundation
public import GRDB
internal import Glibc

/// A service's own SQLite file, in WAL mode. No other service opens it.
///
/// GRDB's pools commit with `synchronous = NORMAL`: a commit outlives the process however it ends, but a power cut may take
/// the last ones.
public enum Store {
    /// Opens the file, makes it if need be, and brings its schema up to date.
    /// `directory`: Made with mode 0700 when missing: the stores hold password hashes and a private key.
    /// `name`: The file is `name.sqlite`.
    /// Throws `FileFailure`.
    public static func open(
        directory: URL, name: String, migrations: DatabaseMigrator
    ) throws -> DatabasePool {
        do {
            try FileManager.default.createDirectory(
                at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw FileFailure(directory, error)
        }
        let file = directory.appending(path: "\(name).sqlite", directoryHint: .notDirectory)
        do {
            return try open(file, name: name, migrations: migrations)
        } catch {
            throw FileFailure(file, error)
        }
    }

    private static func open(_ file: URL, name: String, migrations: DatabaseMigrator) throws -> DatabasePool {
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        configuration.foreignKeysEnabled = true
        configuration.maximumReaderCount = 4
        configuration.label = name
        // One process after the other: what a migration finds done is read before it is begun, so that of two workers that make
        // their store at the same time the second would find tables where it expects none.
        let lock = try OpeningLock(
            file.deletingLastPathComponent().appending(
                path: "\(name).sqlite-opening", directoryHint: .notDirectory))
        defer { lock.release() }
        let pool = try DatabasePool(path: file.path(percentEncoded: false), configuration: configuration)
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o600], ofItemAtPath: file.path(percentEncoded: false))
        try migrations.migrate(pool)
        return pool
    }
}

/// Held by one process at a time; the kernel lets go of it when its holder dies.
private struct OpeningLock {
    private let descriptor: Int32

    /// Waits for whoever holds it: for as long as opening a store takes.
    init(_ file: URL) throws {
        descriptor = Glibc.open(file.path(percentEncoded: false), O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        while flock(descriptor, LOCK_EX) != 0 {
            guard errno == EINTR else {
                let code = POSIXErrorCode(rawValue: errno) ?? .EIO
                close(descriptor)
                throw POSIXError(code)
            }
        }
    }

    func release() { close(descriptor) }
}
