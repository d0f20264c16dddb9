<?php

declare(strict_types=1);

namespace B24\MessageService\Tests;

use B24\MessageService\Client;
use B24\MessageService\Exception\InvalidConfig;
use B24\MessageService\Provider;
use B24\Portal\Portal;
use PHPUnit\Framework\TestCase;

/**
 * Options by name, beside the array.
 */
final class OptionsTest extends TestCase
{
    use InDirectory;

    public function testOptionsAreTakenByName(): void
    {
        $portal = Portal::fresh();
        $client = new Client($portal->host, ...$portal->options());
        $client->messageStatusUpdate('provider1', 'm1', 'sent');
        $mixed = new Client($portal->host, $portal->options(), max_retries: 0, timeout_ms: 20000);
        $mixed->messageStatusUpdate('provider1', 'm1', 'delivered');
        self::assertSame(['provider1|m1' => 'delivered'], $portal->messages());
        $store = "sqlite:$this->directory/b24.db";
        self::assertSame([], (new Provider(...$portal->providerOptions(), store: $store))->inspect());
    }

    /**
     * @return array<string, array{class-string}>
     */
    public static function classes(): array
    {
        return ['client' => [Client::class], 'provider' => [Provider::class]];
    }

    /**
     * @dataProvider classes
     * @param class-string $class
     */
    public function testEachOptionIsANameWhoseValueNoTraceShows(string $class): void
    {
        $constructor = (new \ReflectionClass($class))->getConstructor();
        self::assertNotNull($constructor);
        preg_match_all('/^ +\* +(\w+)\?: /m', (string) $constructor->getDocComment(), $documented);
        $names = [];
        foreach ($constructor->getParameters() as $parameter) {
            self::assertCount(1, $parameter->getAttributes('SensitiveParameter'), $parameter->getName());
            $names[] = $parameter->getName();
        }
        self::assertSame($documented[1], array_values(array_diff($names, ['portal', 'options'])));
    }

    public function testAnOptionIsGivenOnce(): void
    {
        $this->expectException(InvalidConfig::class);
        $this->expectExceptionMessage('timeout_ms is given in the array of options and by name');
        new Client('portal.bitrix24.com', ['access_token' => 'x', 'timeout_ms' => 1], timeout_ms: 2);
    }

    public function testAnUnknownNameIsPhpsOwnError(): void
    {
        $this->expectException(\Error::class);
        $this->expectExceptionMessage('Unknown named parameter $timeout');
        // @phpstan-ignore-next-line
        new Client('portal.bitrix24.com', timeout: 2);
    }
}
