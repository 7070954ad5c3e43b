import Backbone
import BusService
import Foundation
import ServiceKit

/// `platform-figures store FOLDER`: the bus in this process, its file in a new FOLDER.
/// `platform-figures bus URL TOKEN-FILE`: a bus that runs, over HTTP.
/// One JSON line a figure on standard output.
@main struct Program {
    static func main() async throws {
        let words = Array(CommandLine.arguments.dropFirst())
        switch words.first {
        case "store"? where words.count == 2:
            let store = try BusStore(directory: URL(filePath: words[1], directoryHint: .isDirectory))
            try await Figures(backbone: store, way: "in process").measure()
        case "bus"? where words.count == 3:
            guard let origin = Origin(url: words[1]),
                let token = try? ServiceToken(file: URL(filePath: words[2]))
            else { exit(2) }
            try await Figures(backbone: BusClient(origin: origin, token: token), way: "HTTP").measure()
        default:
            FileHandle.standardError.write(
                Data("usage: platform-figures store FOLDER | bus URL TOKEN-FILE\n".utf8))
            exit(2)
        }
    }
}
