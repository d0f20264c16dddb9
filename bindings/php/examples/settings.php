<?php

declare(strict_types=1);

/**
 * Options from the environment: B24_STATE_DIR is `state_dir`, and so on.
 *
 * @return array<string, string>
 */
function options(string ...$names): array
{
    $options = [];
    foreach ($names as $name) {
        $value = getenv('B24_' . strtoupper($name));
        if ($value !== false && $value !== '') {
            $options[$name] = $value;
        }
    }
    return $options;
}
