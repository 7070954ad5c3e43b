/// When a schedule is due, in the five fields of crontab(5): minute, hour, day of month, month, day of week.
struct CronExpression: Equatable, Sendable {
    static let lengthLimitBytes = 200

    /// Why a text is not one.
    struct Refusal: Error, Equatable, CustomStringConvertible {
        let description: String
    }

    private let minutes: Set<Int>
    private let hours: Set<Int>
    private let days: Set<Int>
    private let months: Set<Int>
    /// 0 is Sunday.
    private let weekdays: Set<Int>
    /// A field that begins with `*` does not count as a choice: where both fields of days are choices, either may fit.
    private let isDayChosen: Bool
    private let isWeekdayChosen: Bool
    /// The hour is left open: such a schedule goes by how time passes, not by what the clock on the wall says.
    let isHourOpen: Bool

    private static let shorthands = [
        "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
        "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
    ]
    private static let monthNames = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ]
    private static let weekdayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]

    init(_ text: String) throws(Refusal) {
        guard text.utf8.count <= Self.lengthLimitBytes else {
            throw Refusal(description: "more than \(Self.lengthLimitBytes) bytes")
        }
        let written = Self.shorthands[text.lowercased()] ?? text
        let fields = written.split(whereSeparator: { $0 == " " || $0 == "\t" }).map { $0.lowercased() }
        guard fields.count == 5 else {
            throw Refusal(description: "five fields are needed, found \(fields.count)")
        }
        minutes = try Self.values(fields[0], "minute", 0...59)
        hours = try Self.values(fields[1], "hour", 0...23)
        days = try Self.values(fields[2], "day", 1...31)
        months = try Self.values(fields[3], "month", 1...12, names: Self.monthNames, firstName: 1)
        let written7 = try Self.values(fields[4], "weekday", 0...7, names: Self.weekdayNames, firstName: 0)
        weekdays = Set(written7.map { $0 % 7 })
        isDayChosen = !fields[2].hasPrefix("*")
        isWeekdayChosen = !fields[4].hasPrefix("*")
        isHourOpen = fields[1].hasPrefix("*")
        // The 30th of February and its like: eight years hold every date that there is.
        guard fitsEver else { throw Refusal(description: "no date fits") }
    }

    func fits(hour: Int, minute: Int) -> Bool { hours.contains(hour) && minutes.contains(minute) }

    /// `date`: Its time of day is not looked at.
    func fits(date: CivilTime) -> Bool {
        guard months.contains(date.month) else { return false }
        let byDay = days.contains(date.day)
        let byWeekday = weekdays.contains(date.weekday)
        return isDayChosen && isWeekdayChosen ? byDay || byWeekday : byDay && byWeekday
    }

    /// The times of a day, in minutes since its midnight, in order.
    var timesOfDay: [Int] { hours.sorted().flatMap { hour in minutes.sorted().map { hour * 60 + $0 } } }

    private var fitsEver: Bool {
        // From 1996 on every combination of date and leap year comes within four years; weekdays only narrow them when they
        // are not chosen, which is when they hold all seven or a step of them: 28 years hold all.
        (0..<(28 * 366)).contains { fits(date: CivilTime(epochSeconds: (9_496 + Int64($0)) * 86_400)) }
    }

    private static func values(
        _ field: String, _ name: String, _ range: ClosedRange<Int>, names: [String] = [], firstName: Int = 0
    ) throws(Refusal) -> Set<Int> {
        func refusal(_ part: Substring) -> Refusal {
            Refusal(
                description: "the \(name) '\(part)' is not within \(range.lowerBound) to \(range.upperBound)")
        }
        func number(_ text: Substring) throws(Refusal) -> Int {
            if let index = names.firstIndex(of: String(text)) { return index + firstName }
            guard text.utf8.count <= 2, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let number = Int(text), range.contains(number)
            else { throw refusal(text) }
            return number
        }
        var values: Set<Int> = []
        for part in field.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            var step = 1
            if halves.count == 2 {
                guard halves[1].utf8.count <= 2, let found = Int(halves[1]), found > 0 else {
                    throw refusal(part)
                }
                step = found
            }
            var first = range.lowerBound
            var last = range.upperBound
            if halves[0] != "*" {
                let ends = halves[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
                first = try number(ends[0])
                // `5/15` is from 5 on, as `5-59/15` is.
                if ends.count == 2 { last = try number(ends[1]) } else if halves.count == 1 { last = first }
                guard first <= last else { throw refusal(part) }
            } else if name == "weekday" {
                // 7 is Sunday again, and would be a step of its own.
                last = 6
            }
            values.formUnion(stride(from: first, through: last, by: step))
        }
        return values
    }
}
