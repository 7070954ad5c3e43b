import LinuxIO
import MicroParts

/// `gatehouse-micro NAME COUNT`: a part of the gateway, alone, so many times; `gatehouse-micro --list` names the parts. Ends
/// with 1 when a result was wrong, with 2 when the words are.
@main struct Program {
    static func main() {
        let words = CommandLine.arguments.dropFirst()
        if words == ["--list"] {
            for part in Part.allCases { Files.write("\(part.rawValue)\t\(part.summary)\n", to: 1) }
            return
        }
        guard words.count == 2, let name = words.first, let part = Part(rawValue: name),
            let count = words.last.flatMap({ Int($0) }), count >= 0
        else {
            Files.write("usage: gatehouse-micro --list | NAME COUNT\n", to: 2)
            Machine.exit(status: 2)
        }
        do {
            try part.run(count)
        } catch {
            Files.write("gatehouse-micro: \(error)\n", to: 2)
            Machine.exit(status: 1)
        }
    }
}
