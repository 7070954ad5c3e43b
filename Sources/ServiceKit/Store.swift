public import Foundation
public import GRDB

/// A service's own SQLite file, in WAL mode. No other service opens it.
///
/// GRDB's pools commit with `synchronous = NORMAL`: a commit outlives the process however it ends, but a power cut may take
/// the last ones.
public enum Store {
    /// Opens the file, makes it if need be, and brings its schema up to date.
    /// `directory`: Made with mode 0700 when missing: the stores hold password hashes and a private key.
    /// `name`: The file is `name.sqlite`.
    public static func open(
        directory: URL, name: String, migrations: DatabaseMigrator
    ) throws -> DatabasePool {
        try FileManager.default.createDirectory(
            at: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        var configuration = Configuration()
        configuration.busyMode = .timeout(5)
        configuration.foreignKeysEnabled = true
        configuration.maximumReaderCount = 4
        configuration.label = name
        let file = directory.appending(path: "\(name).sqlite", directoryHint: .notDirectory)
        let pool = try DatabasePool(path: file.path(percentEncoded: false), configuration: configuration)
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o600], ofItemAtPath: file.path(percentEncoded: false))
        try migrations.migrate(pool)
        return pool
    }
}
