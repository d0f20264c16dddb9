<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use PHPUnit\Framework\TestCase;

/**
 * The package as Composer installs it. Packagist reads the composer.json at the root of the repository; the one in
 * bindings/php is for the directory php of the release archive.
 */
final class ComposerTest extends TestCase
{
    use InDirectory;

    private const ROOT = __DIR__ . '/../../..';

    /**
     * @return array<string, mixed>
     */
    private static function package(string $file): array
    {
        return json_decode((string) file_get_contents($file), true, 16, JSON_THROW_ON_ERROR);
    }

    public function testBothDescriptionsAreOfOnePackage(): void
    {
        $root = self::package(self::ROOT . '/composer.json');
        $own = self::package(self::ROOT . '/bindings/php/composer.json');
        foreach (['name', 'description', 'type', 'license', 'keywords', 'require', 'suggest'] as $name) {
            self::assertSame($own[$name], $root[$name], $name);
        }
        $within = static fn (string $path): string => "bindings/php/$path";
        self::assertSame(array_map($within, $own['bin']), $root['bin']);
        self::assertSame(array_map($within, $own['autoload']['psr-4']), $root['autoload']['psr-4']);
    }

    /**
     * @return array<string, array{string}>
     */
    public static function repositories(): array
    {
        return ['the repository, as Packagist' => ['vcs'], 'the directory of an archive' => ['path']];
    }

    /**
     * @dataProvider repositories
     */
    public function testAStrangerInstallsIt(string $type): void
    {
        $composer = trim((string) shell_exec('command -v composer'));
        if ($composer === '') {
            self::markTestSkipped('composer is not installed');
        }
        $package = "$this->directory/package";
        if ($type === 'vcs') {
            Package::copied("$package/bindings/php");
            copy(self::ROOT . '/composer.json', "$package/composer.json");
            $git = 'git -C ' . escapeshellarg($package) . ' -c user.name=t -c user.email=t@example.com';
            $made = Program::shell("$git init -q -b main && $git add -A && $git commit -q -m 1 && $git tag v1.0.0");
            self::assertSame(0, $made->exit, $made->errors);
        } else {
            Package::copied($package);
            copy(self::ROOT . '/bindings/php/composer.json', "$package/composer.json");
        }
        mkdir("$this->directory/project");
        file_put_contents("$this->directory/project/composer.json", json_encode([
            'repositories' => [
                ['type' => $type, 'url' => $package] + ($type === 'path' ? ['options' => ['symlink' => false]] : []),
                ['packagist.org' => false],
            ],
            'require' => ['b24/messageservice' => $type === 'vcs' ? '^1.0' : '*@dev'],
        ], JSON_THROW_ON_ERROR));
        $environment = ['COMPOSER_HOME' => "$this->directory/home", 'COMPOSER_ALLOW_SUPERUSER' => '1', 'B24_MESSAGESERVICE_LIB' => ''];
        $project = escapeshellarg("$this->directory/project");
        $php = escapeshellarg(PHP_BINARY);
        // Composer of Debian runs with Debian's PHP; what it checks of a platform it is told.
        $installed = Program::shell("cd $project && env -u PHPRC -u PHP_INI_SCAN_DIR $composer install -q --no-interaction --ignore-platform-req=php", $environment);
        self::assertSame(0, $installed->exit, $installed->output . $installed->errors);

        $load = ' -r \'require "vendor/autoload.php"; echo B24\MessageService\Loader::ffi()->b24_version();\'';
        $check = Program::shell("cd $project && $php vendor/bin/b24 check", $environment);
        self::assertSame(1, $check->exit);
        self::assertStringContainsString('install-library', $check->output);
        self::assertStringNotContainsString('b24_messageservice.h is missing', $check->output);

        $library = (string) getenv('B24_MESSAGESERVICE_LIB');
        $tar = "tar -C $project -chzf $project/release.tar.gz --transform 's,.*/,b24/lib/,' " . escapeshellarg($library);
        $sum = "sha256sum $project/release.tar.gz | cut -d ' ' -f 1";
        $done = Program::shell("$tar 2>/dev/null; cd $project && $php vendor/bin/b24 install-library release.tar.gz --sha256 \$($sum)", $environment);
        self::assertSame(0, $done->exit, $done->output . $done->errors);
        $loaded = Program::shell("cd $project && $php$load", $environment);
        self::assertMatchesRegularExpression('/^\d+\.\d+\.\d+$/', $loaded->output, $loaded->errors);
    }
}
