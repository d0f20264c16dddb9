<?php

declare(strict_types=1);

namespace B24\MessageService;

/**
 * Reads the lists that calls return.
 *
 * @internal
 */
final class Rows
{
    /**
     * Makes a call, and gives its list as rows with the values of these names.
     *
     * @param list<string> $names
     * @param \Closure(\FFI\CData, \FFI\CData): int $call takes the places for its list and its error
     *
     * @return list<array<string, string>>
     */
    public static function of(\FFI $ffi, array $names, \Closure $call): array
    {
        $list = $ffi->new('b24_list *');
        $error = Failure::place($ffi);
        Failure::check($call(\FFI::addr($list), \FFI::addr($error)), $error);
        return self::read($ffi, $list, $names);
    }

    /**
     * The rows of a list, which is freed.
     *
     * @param list<string> $names
     *
     * @return list<array<string, string>>
     */
    public static function read(\FFI $ffi, \FFI\CData $list, array $names): array
    {
        try {
            $rows = [];
            $count = $ffi->b24_list_len($list);
            for ($row = 0; $row < $count; $row++) {
                $values = [];
                foreach ($names as $name) {
                    $values[$name] = $ffi->b24_list_get($list, $row, $name);
                }
                $rows[] = $values;
            }
            return $rows;
        } finally {
            $ffi->b24_list_free($list);
        }
    }
}
