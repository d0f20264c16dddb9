<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Check;
use PHPUnit\Framework\TestCase;

/**
 * What `b24 check` says of a PHP's settings.
 */
final class CheckTest extends TestCase
{
    private const B24 = __DIR__ . '/../bin/b24';

    /**
     * @return array<string, array{string, bool, string, string, string, string, string}>
     */
    public static function settings(): array
    {
        return [
            'no extension' => ['cli', false, '', '', '', 'fault', 'extension=ffi'],
            'off' => ['cli', true, '0', '', '', 'fault', 'set ffi.enable=true'],
            'on' => ['fpm-fcgi', true, '1', '', '', 'ok', 'ffi.enable=true'],
            'the default on the command line' => ['cli', true, 'preload', '', '', 'ok', 'command line'],
            'the default under FPM' => ['fpm-fcgi', true, 'preload', '', '', 'fault', 'b24-preload FILE'],
            'preload without classes' => ['fpm-fcgi', true, 'preload', '/b24.h', '', 'fault', 'opcache.preload='],
            'preload without a header' => ['fpm-fcgi', true, 'preload', '', '/preload.php', 'fault', 'ffi.preload='],
            'preload' => ['fpm-fcgi', true, 'preload', '/b24.h', '/preload.php', 'ok', 'ffi.preload=/b24.h'],
            'off under FPM with all the rest' => ['fpm-fcgi', true, '', '/b24.h', '/p.php', 'fault', 'ffi.enable=true'],
        ];
    }

    /**
     * @dataProvider settings
     */
    public function testSettingsAreJudgedForWhoUsesThem(
        string $sapi,
        bool $isLoaded,
        string $enable,
        string $preload,
        string $classes,
        string $judged,
        string $text
    ): void {
        [[$what, $said]] = Check::ffi($sapi, $isLoaded, $enable, $preload, $classes);
        self::assertSame($judged, $what, $said);
        self::assertStringContainsString($text, $said);
    }

    public function testTheExitCodeSaysWhetherThePackageCanBeUsed(): void
    {
        $good = Program::run(['-d', 'ffi.enable=preload', self::B24, 'check']);
        self::assertSame([0, ''], [$good->exit, $good->errors], $good->output);
        self::assertStringNotContainsString('fault', $good->output);
        foreach (['php.ini' => 'ok    PHP ', 'version' => ', version '] as $what => $text) {
            self::assertStringContainsString($text, $good->output, $what);
        }
        $faults = [
            'set ffi.enable=true' => [['-d', 'ffi.enable=0', self::B24, 'check'], []],
            'opcache.preload=' => [['-d', 'ffi.enable=preload', self::B24, 'check', '--fpm'], []],
            'libmissing.so' => [[self::B24, 'check'], ['B24_MESSAGESERVICE_LIB' => '/nowhere/libmissing.so']],
            'no shared library' => [[self::B24, 'check'], ['B24_MESSAGESERVICE_LIB' => __FILE__]],
        ];
        foreach ($faults as $text => [$arguments, $environment]) {
            $bad = Program::run($arguments, $environment);
            self::assertSame(1, $bad->exit, $bad->output);
            self::assertMatchesRegularExpression('/^fault .*' . preg_quote($text) . '/m', $bad->output, $text);
        }
    }

    public function testWithoutTheExtensionItSaysSo(): void
    {
        $done = Program::run(['-n', self::B24, 'check']);
        if (!str_contains($done->output, 'FFI is not loaded')) {
            self::markTestSkipped('this PHP has FFI built in');
        }
        self::assertSame(1, $done->exit);
        self::assertStringContainsString('extension=ffi', $done->output);
    }
}
