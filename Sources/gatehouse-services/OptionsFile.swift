import ArgumentParser
import Foundation
import ServiceKit

/// The options of a command in a file, `--config FILE`: one a line, by their names without dashes.
struct OptionsFile {
    static let limitBytes = 64 << 10
    /// What may stand in it several times.
    private static let repeatable: Set = ["allow-webhooks-to"]
    private static let word = "--config"

    /// Why a file is of no use, with its line.
    struct Fault: Error, CustomStringConvertible {
        let description: String
    }

    /// The words of the program, with those that its file stands for put after the command's name: what is said besides comes
    /// later, and wins. Throws `Fault` or `FileFailure`.
    static func expanded(_ words: [String]) throws -> [String] {
        guard let name = words.first, let path = path(in: words),
            let command = GatehouseServices.configuration.subcommands.first(where: { $0._commandName == name }
            )
        else { return words }
        var options = Options(help: GatehouseServices.helpMessage(for: command, columns: 1_000))
        // A file does not lead to another.
        guard options.takesValue.removeValue(forKey: "config") != nil else { return words }
        let file = URL(filePath: path, directoryHint: .notDirectory)
        return [name] + (try self.words(of: file, path, options)) + words.dropFirst()
    }

    private static func path(in words: [String]) -> String? {
        for (index, one) in words.enumerated() {
            if one == word { return index + 1 < words.count ? words[index + 1] : nil }
            if one.hasPrefix(word + "=") { return String(one.dropFirst(word.count + 1)) }
        }
        return nil
    }

    /// The options of a command, by its own help: the two cannot disagree.
    private struct Options {
        /// By name; `false` of flags.
        var takesValue: [String: Bool] = [:]

        init(help: String) {
            for line in help.split(separator: "\n") {
                guard let found = line.wholeMatch(of: /\s+(?:-\w, )?--([a-z0-9-]+)( <.*)?(\s.*)?/) else {
                    continue
                }
                takesValue[String(found.1)] = found.2 != nil
            }
            takesValue["help"] = nil
        }

        /// The name that was most likely meant.
        func nearest(_ name: String) -> String? {
            takesValue.keys.sorted().map { ($0, Self.distance(Array($0.utf8), Array(name.utf8))) }
                .min { $0.1 < $1.1 }.flatMap { $0.1 <= 2 ? $0.0 : nil }
        }

        /// Bytes that must be put in, taken out or changed.
        private static func distance(_ left: [UInt8], _ right: [UInt8]) -> Int {
            var row = Array(0...right.count)
            for (index, byte) in left.enumerated() {
                var before = row[0]
                row[0] = index + 1
                for (column, other) in right.enumerated() {
                    let changed = before + (byte == other ? 0 : 1)
                    before = row[column + 1]
                    row[column + 1] = min(changed, row[column] + 1, before + 1)
                }
            }
            return row[right.count]
        }
    }

    private static func words(of file: URL, _ path: String, _ options: Options) throws -> [String] {
        let data: Data
        do {
            data = try Data(contentsOf: file)
        } catch {
            throw FileFailure(file, error)
        }
        guard data.count <= limitBytes else { throw FileFailure(file, "is longer than \(limitBytes) bytes") }
        var words: [String] = []
        var seen: [String: Int] = [:]
        let text = String(decoding: data, as: UTF8.self)
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            func fault(_ told: String) -> Fault { Fault(description: "\(path):\(index + 1): \(told)") }
            let line = line.trimmingCharacters(in: .whitespaces)
            guard !line.isEmpty, !line.hasPrefix("#") else { continue }
            guard let found = line.wholeMatch(of: /([^\s:]+)\s*:\s*(.*)/) else {
                throw fault("'\(line.prefix(64))' is not of the form 'option: value'")
            }
            let (name, value) = (String(found.1), String(found.2))
            guard let takesValue = options.takesValue[name] else {
                let meant = options.nearest(name).map { "; did you mean '\($0)'?" } ?? ""
                throw fault("unknown option '\(name.prefix(64))'\(meant)")
            }
            if let before = seen[name], !repeatable.contains(name) {
                throw fault("'\(name)' was said on line \(before) already")
            }
            seen[name] = index + 1
            guard takesValue else {
                guard ["true", "false"].contains(value) else {
                    throw fault("'\(name)' must be true or false, found '\(value.prefix(64))'")
                }
                if value == "true" { words.append("--\(name)") }
                continue
            }
            guard !value.isEmpty else { throw fault("'\(name)' needs a value") }
            words.append("--\(name)=\(value)")
        }
        return words
    }
}
