<?php

declare(strict_types=1);

namespace B24\MessageService;

use B24\MessageService\Exception\InvalidConfig;

/**
 * Options as C takes them.
 *
 * @internal
 */
final class Options
{
    /**
     * Calls a function with a configuration of these options, which lives as long as that call.
     *
     * @template Made
     * @param array<mixed> $options by name; null leaves one out
     * @param \Closure(\FFI\CData): Made $use
     *
     * @return Made
     *
     * @throws InvalidConfig naming the option and what it takes
     */
    public static function with(
        \FFI $ffi,
        #[\SensitiveParameter] array $options,
        #[\SensitiveParameter] \Closure $use
    ): mixed {
        return Signals::held(static fn (): mixed => self::use($ffi, $options, $use));
    }

    /**
     * @param array<mixed> $options
     */
    private static function use(
        \FFI $ffi,
        #[\SensitiveParameter] array $options,
        #[\SensitiveParameter] \Closure $use
    ): mixed {
        $config = $ffi->b24_config_new();
        try {
            foreach ($options as $name => $value) {
                if ($value !== null) {
                    self::set($ffi, $config, (string) $name, self::text((string) $name, $value));
                }
            }
            return $use($config);
        } finally {
            $ffi->b24_config_free($config);
        }
    }

    /**
     * Options that were given in an array and by name, together.
     *
     * @param array<mixed> $options
     * @param array<string, mixed> $named null leaves one out
     *
     * @return array<mixed>
     *
     * @throws InvalidConfig if one is given twice
     */
    public static function merged(#[\SensitiveParameter] array $options, #[\SensitiveParameter] array $named): array
    {
        foreach ($named as $name => $value) {
            if ($value !== null && isset($options[$name])) {
                throw new InvalidConfig("$name is given in the array of options and by name: give it once");
            }
            $options[$name] ??= $value;
        }
        return $options;
    }

    private static function set(
        \FFI $ffi,
        \FFI\CData $config,
        string $name,
        #[\SensitiveParameter] string $value
    ): void {
        $error = Failure::place($ffi);
        Failure::check($ffi->b24_config_set($config, $name, $value, \FFI::addr($error)), $error);
    }

    /**
     * The text of an option's value.
     */
    private static function text(string $name, #[\SensitiveParameter] mixed $value): string
    {
        if (is_array($value)) {
            // A loop: the trace of array_map would show the values.
            $texts = [];
            foreach ($value as $item) {
                $texts[] = self::text($name, $item);
            }
            $value = implode(',', $texts);
        }
        $text = match (true) {
            is_bool($value) => $value ? 'true' : 'false',
            is_scalar($value), $value instanceof \Stringable => (string) $value,
            default => throw new InvalidConfig(
                "$name is a " . get_debug_type($value) . '; it takes text, a number, true or false'
            ),
        };
        if (str_contains($name . $text, "\0")) {
            throw new InvalidConfig(strtr($name, "\0", ' ') . ' contains a NUL, at which C would cut it off');
        }
        return $text;
    }
}
